"""Runs in the sandbox: the jobs of a file, some side by side, and writes what each said. Arguments: the file, and where the results go."""
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile


def run(job):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        environment = os.environ | job["environment"] | {"OWN": own}
        # A file, since a program that is left over would hold a pipe open.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(["bash", "-c", job["script"]], env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                status = process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
                said.write(b"\nno end after 40 seconds")
            said.seek(0)
            return {"status": status, "said": said.read().decode(errors="replace").replace(own, "FOLDER")}


with open(sys.argv[1]) as file:
    jobs = json.load(file)
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    results = list(pool.map(run, jobs))
with open(sys.argv[2], "w") as file:
    json.dump(results, file)
