"""Escape functions of real libraries: an upstream echoes a key as each of them writes it."""
import base64
import binascii
import csv
import html
import io
import json
import quopri
import re
import shlex
import shutil
import subprocess
import urllib.parse
import xml.sax.saxutils

# Programs that read the key from standard input and print one line a library: its name, and base64 of what it wrote.
NODE = r"""
const key = require('fs').readFileSync(0, 'utf8'), say = (name, text) => console.log(name + ' ' + Buffer.from(text).toString('base64'))
say('node/encodeURIComponent', encodeURIComponent(key)); say('node/escape', escape(key)); say('node/querystring', require('querystring').escape(key))
say('node/URLSearchParams', new URLSearchParams({k: key}).toString()); say('node/JSON', JSON.stringify(key)); say('node/JSON twice', JSON.stringify(JSON.stringify({k: key})))
say('node/inspect', require('util').inspect(key)); say('node/base64', Buffer.from(key).toString('base64')); say('node/base64url', Buffer.from(key).toString('base64url'))
say('node/hex', Buffer.from(key).toString('hex')); say('node/Buffer in JSON', JSON.stringify({b: Buffer.from(key)})); say('node/Buffer shown', require('util').inspect(Buffer.from(key)))
say('node/utf16le', Buffer.from(key, 'utf16le')); say('node/base64 of utf16le', Buffer.from(key, 'utf16le').toString('base64'))
say('node/base64 twice', Buffer.from(Buffer.from('user:' + key).toString('base64')).toString('base64'))
"""
GO = r"""
package main

import (
	"encoding/base32"; "encoding/base64"; "encoding/csv"; "encoding/hex"; "encoding/json"; "encoding/xml"; "bytes"; "fmt"; "html"; "html/template"; "io"
	"mime"; "mime/quotedprintable"; "net/url"; "os"; "strconv"
)

func main() {
	raw, _ := io.ReadAll(os.Stdin)
	key := string(raw)
	say := func(name, text string) { fmt.Println("go/"+name, base64.StdEncoding.EncodeToString([]byte(text))) }
	say("html", html.EscapeString(key)); say("JSEscaper", template.JSEscapeString(key)); say("URLQueryEscaper", template.URLQueryEscaper(key))
	page := func(text string) string {
		var out bytes.Buffer
		template.Must(template.New("p").Parse(text)).Execute(&out, key)
		return out.String()
	}
	say("html template", page("<p title='{{.}}'>{{.}}</p>")); say("template in script", page("<script>let a = {{.}}</script>"))
	say("template in attribute", page("<p title={{.}}></p>")); say("template in style", page("<style>p { content: '{{.}}' }</style>"))
	say("template in URL", page("<a href='/x?{{.}}'>"))
	say("QueryEscape", url.QueryEscape(key)); say("PathEscape", url.PathEscape(key)); say("Quote", strconv.Quote(key)); say("QuoteToASCII", strconv.QuoteToASCII(key))
	text, _ := json.Marshal(map[string]any{"text": key, "bytes": raw}); say("json", string(text))
	var out bytes.Buffer; xml.EscapeText(&out, raw); say("xml", out.String())
	say("%x", fmt.Sprintf("%x", key)); say("% X", fmt.Sprintf("% X", key)); say("%#x", fmt.Sprintf("%# x", key)); say("%v", fmt.Sprintf("%v", raw)); say("%#v", fmt.Sprintf("%#v", raw))
	say("hex", hex.EncodeToString(raw)); say("base32", base32.StdEncoding.EncodeToString(raw)); say("base64url", base64.RawURLEncoding.EncodeToString(raw))
	var quoted bytes.Buffer; writer := quotedprintable.NewWriter(&quoted); writer.Write([]byte("x=" + key)); writer.Close(); say("quotedprintable", quoted.String())
	say("mime Q", mime.QEncoding.Encode("utf-8", key+"é"))
	var rows bytes.Buffer; table := csv.NewWriter(&rows); table.Write([]string{key}); table.Flush(); say("csv", rows.String())
}
"""
JAVA = r"""
import java.nio.charset.*; import java.util.*; import java.io.*;
class Echo {
  static void say(String name, byte[] text) { System.out.println("java/" + name + " " + Base64.getEncoder().encodeToString(text)); }
  static void say(String name, String text) { say(name, text.getBytes(StandardCharsets.UTF_8)); }
  public static void main(String[] arguments) throws Exception {
    byte[] raw = System.in.readAllBytes();
    String key = new String(raw, StandardCharsets.UTF_8);
    say("URLEncoder", java.net.URLEncoder.encode(key, StandardCharsets.UTF_8)); say("URI", new java.net.URI("http", "h", "/p", key, null).toString());
    say("base64", Base64.getEncoder().encode(raw)); say("base64 mime", Base64.getMimeEncoder(20, "\r\n".getBytes()).encode(("user:" + key).getBytes()));
    say("base64url", Base64.getUrlEncoder().withoutPadding().encode(raw)); say("Arrays", Arrays.toString(raw));
    say("HexFormat", HexFormat.of().formatHex(raw)); say("HexFormat with colons", HexFormat.ofDelimiter(":").withUpperCase().formatHex(raw));
    Properties properties = new Properties(); properties.setProperty(key, key);
    ByteArrayOutputStream stored = new ByteArrayOutputStream(); properties.store(stored, null); say("Properties", stored.toByteArray());
    ByteArrayOutputStream xml = new ByteArrayOutputStream(); properties.storeToXML(xml, null); say("Properties XML", xml.toByteArray());
    StringWriter stax = new StringWriter(); var writer = javax.xml.stream.XMLOutputFactory.newInstance().createXMLStreamWriter(stax);
    writer.writeStartElement("a"); writer.writeAttribute("k", key); writer.writeCharacters(key); writer.writeEndElement(); writer.flush(); say("StAX", stax.toString());
    say("UTF-16", key.getBytes("UTF-16")); say("UTF-32", key.getBytes("UTF-32")); say("quoteReplacement", java.util.regex.Matcher.quoteReplacement(key));
  }
}
"""
PHP = r"""
$key = stream_get_contents(STDIN);
foreach (['rawurlencode', 'urlencode', 'htmlspecialchars', 'htmlentities', 'addslashes', 'json_encode', 'base64_encode', 'bin2hex', 'quoted_printable_encode', 'quotemeta',
          'preg_quote', 'escapeshellarg', 'serialize', 'var_export1'] as $name) {
  $text = $name == 'var_export1' ? var_export($key, true) : $name($key);
  echo "php/$name ", base64_encode($text), "\n";
}
echo "php/addcslashes ", base64_encode(addcslashes($key, "\0..\177")), "\n", "php/json of signs ", base64_encode(json_encode($key, JSON_HEX_TAG | JSON_HEX_AMP | JSON_HEX_APOS | JSON_HEX_QUOT)), "\n";
echo "php/chunk_split ", base64_encode(chunk_split(base64_encode("user:$key"), 16)), "\n", "php/numeric ", base64_encode(preg_replace_callback('/./s', fn($m) => '&#' . ord($m[0]) . ';', $key)), "\n";
echo "php/http_build_query ", base64_encode(http_build_query(['k' => [$key]])), "\n", "php/base64 of json ", base64_encode(base64_encode(json_encode(['user' => 'me', 'key' => $key]))), "\n";
"""


def python(key):
    raw = key.encode()
    table = io.StringIO()
    csv.writer(table).writerow(["a", key, "b,c"])
    return {
        "quote": urllib.parse.quote(key), "quote, all": urllib.parse.quote(key, safe=""), "quote_plus": urllib.parse.quote_plus(key),
        "urlencode twice": urllib.parse.urlencode({"u": urllib.parse.urlencode({"k": key})}), "html": html.escape(key), "saxutils": xml.sax.saxutils.quoteattr(key),
        "json": json.dumps(key), "json in json": json.dumps(json.dumps({"k": key})), "json of html": json.dumps(html.escape(key)), "repr": repr(key), "repr of bytes": repr(raw),
        "ascii": ascii(key + "é"), "unicode_escape": key.encode("unicode_escape"), "shlex": shlex.quote(key), "re": re.escape(key), "csv": table.getvalue(),
        "base64": base64.b64encode(raw), "encodebytes": base64.encodebytes(b"some words in front of it: " * 3 + raw), "urlsafe": base64.urlsafe_b64encode(b"x" + raw),
        "base32": base64.b32encode(raw), "base16": base64.b16encode(raw), "hexlify": binascii.hexlify(raw, ":"), "quopri": quopri.encodestring(raw + b" =", quotetabs=True),
        "xmlcharrefreplace": "".join(f"&#{byte};" for byte in raw), "utf-16": key.encode("utf-16"), "utf-16-be": key.encode("utf-16-be"), "utf-32": key.encode("utf-32"),
        "list": str(list(raw)), "list, in lines": json.dumps(list(raw), indent=2), "base64 twice": base64.b64encode(base64.b64encode(b"user:" + raw)),
        "base64 of utf-16": base64.b64encode(key.encode("utf-16-le")), "base64 of quote": base64.b64encode(("user:" + urllib.parse.quote(key)).encode()),
        "quote of base64": urllib.parse.quote(base64.b64encode(raw), safe=""), "json of base64 in lines": json.dumps(base64.encodebytes(b"a" * 50 + raw).decode()),
    }


def run(command, key):
    said = subprocess.run(command, input=key.encode(), capture_output=True, check=True, timeout=120).stdout.decode()
    return {name: base64.b64decode(text) for name, text in (line.rsplit(" ", 1) for line in said.splitlines())}


def echoes(key, folder):
    """By library, in each language whose tools are here."""
    all = {f"python/{name}": text.encode() if isinstance(text, str) else text for name, text in python(key).items()}
    if shutil.which("node"):
        all |= run(["node", "-e", NODE], key)
    if shutil.which("php"):
        all |= run(["php", "-r", PHP], key)
    if shutil.which("java"):
        (folder / "Echo.java").write_text(JAVA)
        all |= run(["java", str(folder / "Echo.java")], key)
    if shutil.which("go"):
        (folder / "echo.go").write_text(GO)
        subprocess.run(["go", "build", "-o", str(folder / "echo"), str(folder / "echo.go")], check=True, timeout=300,
                       env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "GO111MODULE": "off", "GOFLAGS": "-p=1"})
        all |= run([str(folder / "echo")], key)
    return all
