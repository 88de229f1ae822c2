"""A gRPC server without generated code: bytes in, bytes out."""
import concurrent.futures

import grpc

KINDS = {
    "/s/unary": grpc.unary_unary_rpc_method_handler(lambda asked, context: b"hello " + asked),
    "/s/stream": grpc.unary_stream_rpc_method_handler(lambda asked, context: (b"%d" % n for n in range(int(asked)))),
    "/s/both": grpc.stream_stream_rpc_method_handler(lambda asked, context: (b"got " + one for one in asked)),
    "/s/fails": grpc.unary_unary_rpc_method_handler(
        lambda asked, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")),
}
STRANGER = grpc.unary_unary_rpc_method_handler(lambda asked, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you"))


def greeter(certificates, authorization=None):
    """With its `port`, and in `asked` each method and what metadata came with it. It demands `authorization` where there is one."""
    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            metadata = dict(details.invocation_metadata)
            server.asked.append((details.method, metadata))
            return KINDS.get(details.method) if authorization in (None, metadata.get("authorization")) else STRANGER

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Handler()])
    credentials = grpc.ssl_server_credentials([(certificates.key.read_bytes(), certificates.cert.read_bytes())])
    server.asked, server.port = [], server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server
