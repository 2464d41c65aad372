import base64
import datetime
import json
import subprocess
import time

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from shared.webhooks.signing import InvalidWebhook, message_id, new_secret, passing_id, signed_headers, verify
from tests.compatibility.environments import python_with

BODY = '{"id": "a1", "output": "größer"}'.encode()
VALIDATE = """
import json, sys
from replicate.webhook import WebhookSigningSecret, Webhooks, InvalidSignatureError
told = json.load(sys.stdin)
secret = WebhookSigningSecret(key=told["key"])
Webhooks.validate(headers=told["headers"], body=told["body"], secret=secret, tolerance=300)
try:
    Webhooks.validate(headers=told["headers"], body=told["body"] + " ", secret=secret)
except InvalidSignatureError:
    print("as it should be")
"""


def test_a_secret_is_whsec_and_standard_base64_with_one_underscore_in_all() -> None:
    for _ in range(50):
        secret = new_secret()
        assert secret.startswith("whsec_") and secret.count("_") == 1
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_an_independent_verifier_takes_what_we_sign_and_nothing_that_was_changed() -> None:
    secret = new_secret()
    headers = signed_headers([secret], message_id("a1", "completed"), BODY)
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)
    verify(secret, headers, BODY)
    for changed in (BODY + b" ", b""):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(changed, headers)
        with pytest.raises(InvalidWebhook, match="No signature fits"):
            verify(secret, headers, changed)
    with pytest.raises(InvalidWebhook, match="No signature fits"):
        verify(secret, {**headers, "webhook-id": message_id("a2", "completed")}, BODY)


def test_we_take_what_an_independent_signer_signs() -> None:
    secret = new_secret()
    now = datetime.datetime.now(datetime.UTC)
    signature = Webhook(secret).sign("msg_1", now, BODY.decode())
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(now.timestamp())), "Webhook-Signature": signature}
    verify(secret, headers, BODY)


def test_two_signatures_verify_under_either_secret() -> None:
    new, old = new_secret(), new_secret()
    headers = signed_headers([new, old], "msg_1", BODY)
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)
        verify(secret, headers, BODY)


@pytest.mark.parametrize("age", [400, -400])
def test_a_webhook_that_is_old_or_from_the_future_is_refused(age: int) -> None:
    secret = new_secret()
    with pytest.raises(InvalidWebhook, match="s old"):
        verify(secret, signed_headers([secret], "msg_1", BODY, time.time() - age), BODY)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    secret = new_secret()
    headers = {name: text for name, text in signed_headers([secret], "msg_1", BODY).items() if name != missing}
    with pytest.raises(InvalidWebhook, match=missing):
        verify(secret, headers, BODY)


def test_ids_follow_from_job_and_event_and_have_no_dot() -> None:
    assert message_id("a1", "completed") == message_id("a1", "completed")
    assert len({message_id(job, event) for job in ("a1", "a2") for event in ("start", "completed")}) == 4
    assert passing_id() != passing_id()
    assert all("." not in id_ and id_.startswith("msg_") for id_ in (message_id("a1", "start"), passing_id()))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_validator_of_the_stock_client_takes_what_we_sign() -> None:
    secret = new_secret()
    keys = [secret, new_secret()]
    told = {"key": secret, "headers": signed_headers(keys, message_id("a1", "completed"), BODY), "body": BODY.decode()}
    python = python_with("requirements-1.txt")
    done = subprocess.run(
        [python, "-c", VALIDATE], input=json.dumps(told), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "as it should be\n", done.stderr
