"""Asks a model about pictures through the stock Python client of Replicate.

python examples/python_client/ask.py OWNER/NAME FILE...
"""

import os
import sys
from pathlib import Path

import replicate

DATA = Path("~/.local/share/headrace").expanduser()


def main() -> None:
    """Makes one job for each picture, then waits for all and prints a line for each."""
    model, files = sys.argv[1], sys.argv[2:]
    client = replicate.Client(
        base_url=os.environ.get("REPLICATE_BASE_URL") or (DATA / "address").read_text().strip(),
        api_token=os.environ.get("REPLICATE_API_TOKEN") or (DATA / "api-key").read_text().strip(),
    )
    jobs = []
    for name in files:
        with open(name, "rb") as picture:  # the client uploads it and sends its URL
            jobs.append(client.predictions.create(model=model, input={"image": picture}))
    for name, job in zip(files, jobs, strict=True):
        job.wait()
        if job.status != "succeeded":
            sys.exit(f"{name}: {job.status}, {job.error}")
        print(f"{name}: {job.output['label']} ({job.output['score']:.2f})")


if __name__ == "__main__":
    main()
