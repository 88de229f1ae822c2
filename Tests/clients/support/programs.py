"""Command lines of client programs, shared by all tests that run them."""

# Reads the URL; by the proxy of HTTPS_PROXY, where that is set, which Java itself does not look at.
JAVA = """
import java.net.*; import java.net.http.*; import java.time.Duration;
public class Client {
  public static void main(String[] a) throws Exception {
    HttpClient.Builder builder = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(20));
    String proxy = System.getenv("HTTPS_PROXY");
    if (proxy != null) builder.proxy(ProxySelector.of(new InetSocketAddress(URI.create(proxy).getHost(), URI.create(proxy).getPort())));
    System.out.print(builder.build().send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString()).body());
  }
}
"""
NODE = """
fetch(process.argv[2]).then(answer => answer.text()).then(text => process.stdout.write(text),
  error => { console.error(error.cause ? error.cause.code : error); process.exit(1); });
"""
