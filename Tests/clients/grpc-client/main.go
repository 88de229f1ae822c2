// A client of gRPC that only receives, as the library does it: for each piece of data it measures the bandwidth with a PING.
// Arguments: the proxy's CONNECT address, the PEM file to trust, the target, how many messages. With a second PEM file,
// the proxy speaks TLS and is to be trusted by that one.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Bytes as they are, without generated code.
type plain struct{}

func (plain) Marshal(v interface{}) ([]byte, error) { return v.([]byte), nil }
func (plain) Unmarshal(data []byte, v interface{}) error {
	*(v.(*[]byte)) = append([]byte{}, data...)
	return nil
}
func (plain) String() string { return "plain" }

func roots(path string) *x509.CertPool {
	pool, text := x509.NewCertPool(), must(os.ReadFile(path))
	if !pool.AppendCertsFromPEM(text) {
		log.Fatal("no certificate in ", path)
	}
	return pool
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	proxy, ca, target := os.Args[1], os.Args[2], os.Args[3]
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := net.Dial("tcp", proxy)
		if err != nil {
			return nil, err
		}
		if len(os.Args) > 5 {
			conn = tls.Client(conn, &tls.Config{RootCAs: roots(os.Args[5]), ServerName: "localhost"})
		}
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
		reader := bufio.NewReaderSize(conn, 16)
		answer, err := http.ReadResponse(reader, &http.Request{Method: "CONNECT"})
		if err == nil && answer.StatusCode != 200 {
			err = fmt.Errorf("the proxy says %s", answer.Status)
		}
		return conn, err
	}
	// Without a name of its own it asks for the target's, with the port in `:authority`.
	trust := credentials.NewTLS(&tls.Config{RootCAs: roots(ca)})
	conn := must(grpc.Dial(target, grpc.WithTransportCredentials(trust), grpc.WithContextDialer(dial), grpc.WithCodec(plain{})))
	stream := must(conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/s/stream"))
	if err := stream.SendMsg([]byte(os.Args[4])); err != nil {
		log.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		log.Fatal(err)
	}
	for got := 0; ; got++ {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			fmt.Println(got, err)
			return
		}
		if string(message) != strconv.Itoa(got) {
			log.Fatal("message ", got, " is ", string(message))
		}
	}
}
