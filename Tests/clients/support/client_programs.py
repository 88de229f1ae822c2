"""Clients that agents use, each with a script that fetches one thing from $HOST:$PORT and prints it. What a script fetches, client_site.py serves.
$URL is https://$HOST:$PORT, $FILES holds the files of the table, $OWN is an empty folder."""
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from programs import JAVA, NODE

HELLO = "hello from upstream"
PYTHON = "/usr/bin/python3 - <<'END'\nimport os, sys\nurl = os.environ['URL']\n"
MODEL = "model='mock', messages=[{'role': 'user', 'content': 'hello'}]"
POM = """<project><modelVersion>4.0.0</modelVersion><parent><groupId>test</groupId><artifactId>parent</artifactId><version>1</version></parent>
<artifactId>child</artifactId><packaging>pom</packaging>
<repositories><repository><id>site</id><url>URL/maven</url></repository></repositories></project>"""
GO = """package main
import ("fmt"; "io"; "net/http"; "os")
func main() {
  answer, err := http.Get(os.Args[1])
  if err != nil { fmt.Println(err); os.Exit(1) }
  text, _ := io.ReadAll(answer.Body)
  fmt.Printf("%s\\n%s", answer.Status, text)
}
"""
SWIFT = """import Foundation
import FoundationNetworking
let (done, url) = (DispatchSemaphore(value: 0), URL(string: CommandLine.arguments[1])!)
URLSession.shared.dataTask(with: url) { data, answer, error in
  if let answer = answer as? HTTPURLResponse { print(answer.statusCode) }
  print(error?.localizedDescription ?? String(decoding: data ?? Data(), as: UTF8.self))
  done.signal()
}.resume()
done.wait()
"""
CARGO = '[package]\nname = "one"\nversion = "1.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n[dependencies]\nthing = { version = "1", registry = "site" }\n'


@dataclass(frozen=True)
class Client:
    name: str
    script: str
    # Programs without which there is no such client.
    needs: tuple = ()
    # The server on the site that it speaks to, and the port at which it asks for a target that is refused.
    server: str = "https"
    port: int = 443
    # For those that keep the gate's words from their user: how they are had.
    silent: str = ""
    # Protocols other than HTTP have nothing that could be inspected.
    is_inspected: bool = True

    @property
    def label(self):
        """As a host's name."""
        return self.name.lower().replace(" ", "-").replace("/", "-")


def python(name, text, **more):
    return Client(name, PYTHON + text + "\nEND", **more)


CLIENTS = [
    Client("curl", 'curl -sS "$URL/hello"', ("curl",)),
    Client("wget", 'wget -nv -O - --tries=1 "$URL/hello"', ("wget",)),
    Client("git", 'git clone -q "$URL/repo.git" $OWN/clone && cat $OWN/clone/file', ("git",)),
    Client("pip", '/usr/bin/python3 -m pip download -q --no-deps --disable-pip-version-check --no-cache-dir --retries 0 -d $OWN --index-url "$URL/simple/" thing && '
                  f"echo {HELLO}", silent="Words of an index that answers with an error are shown by `pip -v` alone."),
    python("requests", "import requests\nprint(requests.get(url + '/hello', timeout=20).text)"),
    python("httpx", "import httpx\nprint(httpx.get(url + '/hello', timeout=20).text)"),
    python("aiohttp", """import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as session, session.get(url + '/hello') as answer:
        print(await answer.text())
asyncio.run(main())"""),
    python("websockets", "from websockets.sync.client import connect\nwith connect(url.replace('https', 'wss') + '/socket') as one: print(one.recv())",
           silent="The words are in the `response` of the exception."),
    Client("Node 20 fetch", '/usr/bin/node $FILES/client.js "$URL/hello"', ("/usr/bin/node",)),
    Client("Node 24 fetch", '$NODE24/node $FILES/client.js "$URL/hello"'),
    Client("npm", f'$NODE24/node $NODE24/../lib/node_modules/npm/bin/npm-cli.js --prefix $OWN --cache $OWN/cache --fetch-retries=0 --registry "$URL/npm/" view thing@1.0.0 description'),
    Client("Java HttpClient", 'java -XX:TieredStopAtLevel=1 $FILES/Client.java "$URL/hello"', ("java",)),
    Client("Maven", f'cd $OWN && sed "s!URL!$URL!" $FILES/pom.xml > pom.xml && mvn -B -q -ntp -Dmaven.repo.local=$OWN/m2 validate && echo {HELLO}', ("mvn",)),
    Client("cargo", f"""cp $FILES/Cargo.toml $OWN && touch $OWN/lib.rs && cd $OWN && CARGO_HOME=$OWN/cargo CARGO_NET_RETRY=0 CARGO_REGISTRIES_SITE_INDEX="sparse+$URL/cargo/" \\
  $CARGO/cargo generate-lockfile -q && grep -q 'name = "thing"' Cargo.lock && echo {HELLO}"""),
    Client("Go net/http", '$FILES/go-client "$URL/hello"', ("go",)),
    python("grpcio", """import grpc
with grpc.secure_channel(f"{os.environ['HOST']}:{os.environ['PORT']}", grpc.ssl_channel_credentials()) as channel:
    print(channel.unary_unary("/s/unary")(b"from upstream", timeout=20).decode())""", server="grpc"),
    python("boto3", """import boto3
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="key",
                  config=boto3.session.Config(retries={"max_attempts": 1, "mode": "standard"}, s3={"addressing_style": "path"}))
print(s3.get_object(Bucket="bucket", Key="hello")["Body"].read().decode())"""),
    python("OpenAI SDK", f"""import openai
print(openai.OpenAI(base_url=url + "/v1", api_key="key", max_retries=0).chat.completions.create({MODEL}).choices[0].message.content)"""),
    python("Anthropic SDK", f"""import anthropic
print(anthropic.Anthropic(base_url=url, api_key="key", max_retries=0).messages.create({MODEL}, max_tokens=9).content[0].text)"""),
    Client("apt", f"""mkdir -p $OWN/state/lists $OWN/cache && touch $OWN/status && echo "deb [trusted=yes] $URL/apt ./" > $OWN/list
set -- -o Dir::State=$OWN/state -o Dir::State::status=$OWN/status -o Dir::Cache=$OWN/cache -o Dir::Etc::sourcelist=$OWN/list -o Dir::Etc::sourceparts=- -o Dir::Etc::parts=-
apt-get -qq "$@" -o Acquire::Retries=0 -o APT::Update::Error-Mode=any update && apt-cache "$@" show thing | grep -o '{HELLO}'""", ("apt-get",)),
    Client("psql", 'psql "host=$HOST port=$PORT user=agent dbname=main connect_timeout=20" -Atc "select 1"', ("psql",), server="postgres", port=5432, is_inspected=False),
    Client("ssh", f"""install -m 600 $FILES/user $OWN/key && ssh -F none -i $OWN/key -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o BatchMode=yes \\
  -p $PORT root@$HOST echo {HELLO}""", ("ssh", "/usr/sbin/sshd"), server="ssh", port=22, is_inspected=False),
    Client("Chromium", """chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions --disable-background-networking \\
  --disable-component-update --disable-sync --user-data-dir=$OWN/profile --dump-dom "$URL/page.html" 2> $OWN/errors | sed 's/<[^>]*>/ /g' || cat $OWN/errors""", ("chromium",)),
    Client("URLSession", 'LD_LIBRARY_PATH=$SWIFT/lib/swift/linux $FILES/swift-client "$URL/hello"', ("swiftc",)),
]


def cargo_folder():
    """Where rustup's shims would have to be told of a home of their own."""
    if shutil.which("rustup"):
        return Path(subprocess.run(["rustup", "which", "cargo"], capture_output=True, text=True, check=True).stdout.strip()).parent
    found = shutil.which("cargo")
    return Path(found).resolve().parent if found else None


def cargo_version():
    said = subprocess.run([cargo_folder() / "cargo", "--version"], capture_output=True, text=True).stdout
    return tuple(map(int, said.split()[1].split(".")[:2]))


def lacking(client):
    """What keeps the client from being had here, or nothing."""
    missing = [one for one in client.needs if not shutil.which(one)]
    if client.name == "cargo" and not cargo_folder():
        missing.append("cargo")
    if missing:
        return f"{' and '.join(missing)} not installed"
    if client.name == "cargo" and cargo_version() < (1, 68):
        return "cargo knows sparse registries from 1.68 on"
    if client.name == "Node 20 fetch":
        version = subprocess.run(["/usr/bin/node", "--version"], capture_output=True, text=True).stdout.strip()
        return "" if version.startswith("v20.") else f"/usr/bin/node is {version}"
    return ""


def write_files(folder, clients):
    """What the scripts read, as `folder`; the compiled ones last, side by side."""
    for name, text in (("Client.java", JAVA), ("client.js", NODE), ("pom.xml", POM), ("Cargo.toml", CARGO), ("main.go", GO), ("client.swift", SWIFT)):
        (folder / name).write_text(text)
    compilers = {"Go net/http": ["go", "build", "-o", folder / "go-client", folder / "main.go"],
                 "URLSession": ["swiftc", "-o", folder / "swift-client", folder / "client.swift"]}
    started = [subprocess.Popen(compilers[one.name], env=os.environ | {"CGO_ENABLED": "0", "GO111MODULE": "off"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
               for one in clients if one.name in compilers]
    for one in started:
        said, _ = one.communicate(timeout=200)
        assert one.returncode == 0, said
