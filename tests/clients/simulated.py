"""Where the simulator is, and how to make things go wrong there."""

import json
import os
import urllib.request

ENDPOINT = os.environ["CLOUDSTACK_ENDPOINT"]
KEY = os.environ["CLOUDSTACK_KEY"]
SECRET = os.environ["CLOUDSTACK_SECRET"]
CONTROL = os.environ["SIMULATOR_CONTROL"]


def control(path, body):
    """Posts to the control API."""
    request = urllib.request.Request(
        CONTROL + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()
