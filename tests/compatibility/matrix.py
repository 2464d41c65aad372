"""What each cell of the matrix must answer, whatever client asks, over whichever address."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.compatibility.environments import CLIENTS

SCRIPTS = {
    client: (f"replicate_{client}.{ending}", f"resources_{client}.{ending}")
    for client, ending in (("1", "py"), ("2", "py"), ("js", "mjs"))
}
"""The scripts of each client."""
COG_VERSION = "headrace"
ERRORS = {
    "401": [401, True, True],
    "404": [404, True, True],
    "404 model": [404, True, True],
    "422 input": [422, True, True],
    "422 missing": [422, True, True],
    "422 version": [422, True, True],
}
EXPECTED: dict[str, Any] = {
    "create_async": [["starting", None], "succeeded", "HELLO", "stock/text", True, None],
    "create_of_a_model": ["succeeded", "HELLO"],
    "wait_that_finishes": ["succeeded", "HELLO"],
    "wait_that_expires": [["starting", None], "succeeded", "LATE"],
    "run_string": "HELLO",
    "run_by_version": ["ONE", "TWO"],
    "run_list": ["TO", "BE", "OR"],
    "run_numbers": [2, 4, 6],
    "run_typed_array": [2, 4, 6],
    "run_object": ["bright", 1.0],
    "run_iterator": [["ONE", "TWO", "THREE"], ["ALONE"]],
    "run_longer_than_the_wait": "LATE",
    "run_by_polling": "HELLO",
    "cancel_queued": ["starting", "canceled", None, "E1403: canceled on request", "canceled"],
    "deadline": ["canceled", None, "E1401:"],
    "abort": None,
    "cancel_running": ["canceled", None, "E1403: canceled on request"],
    "cancel_done": ["succeeded", "DONE", "succeeded"],
    "failed": ["failed", None, "E1101:", True],
    "next_page": [100, 120, 120, None, True],
    "errors": ERRORS,
    "too_many": [429, True],
    "training": [["starting", None], "canceled", True],
    "training_to_its_end": [["starting", None], "succeeded", "stock/trained", 64, COG_VERSION],
    "version_objects": ["words", True, True, ["Input", "Output"]],
    "create_and_delete_a_model": [True, "private", True, 404],
    "account": True,
    "files": ["numbers.csv", 8, {"kind": "table"}, True, True, True, 404],
    "file_download": "some bytes",
    "file_input": ["bright", "bright", ["dark", "bright"]],
    "text_file_input": ["HELLO", "HELLO", ["ONE", "TWO"]],
    "url_input": "bright",
    "file_output": ["FileOutput", True, True],
    "stream": [["output", "HELLO\nYOU"], ["done", "{}"]],
    "stream_of_rows": [["output", "ONE"], ["output", " TWO"], ["output", ""], ["done", "{}"]],
    "stream_of_an_iterator": [
        [["output", "ONE"], ["output", " TWO"], ["done", "{}"]],
        [["output", "ALONE"], ["done", "{}"]],
    ],
    "slow_stream": [["output", "LATE"], ["done", "{}"]],
    "late_stream": ["succeeded", [["output", "HELLO"], ["done", "{}"]]],
    "stream_that_fails": True,
    "stream_of_a_canceled_one": [["done", '{"reason":"canceled"}']],
    "odd_line_ends": "A\nB\nC\nD",
    "asynchronous_stream": [["output", "HELLO"], ["done", "{}"]],
    "use": ["HELLO", "THERE", ["BIT", "BY", "BIT"]],
    "webhook": [["processing", "succeeded"], True, 2, True],
    "search": ["words"],
    "search_of_everything": ["words", ["words"]],
    "deployments": ["HELLO", True, 2, True, True],
    "others": [True, ["recipes"], "headrace", True],
    "model_card": ["a card", "# Card", []],
    "duplicate_post": 1,
    "file_in_base64": "bright",
    "asynchronous": ["HELLO", "THERE"],
}
ONLY: Mapping[str, Sequence[str]] = {
    "run_typed_array": ["js"],
    "run_by_polling": ["js"],
    "abort": ["js"],
    "file_download": ["2"],
    "file_in_base64": ["1", "2"],
    "asynchronous": ["1", "2"],
    "use": ["2"],
    "search_of_everything": ["2"],
    "model_card": ["2"],
    "asynchronous_stream": ["1"],
    "stream": ["1", "js"],
    "stream_of_rows": ["1", "js"],
    "stream_of_an_iterator": ["1", "js"],
    "slow_stream": ["1", "js"],
    "late_stream": ["1", "js"],
    "stream_that_fails": ["1", "js"],
    "stream_of_a_canceled_one": ["1", "js"],
    "odd_line_ends": ["1", "js"],
}
"""The clients that have a cell, where some cannot do it; ``training_to_its_end`` is no cell but another end of one."""
QUIRKS: Sequence[tuple[str, str, Any]] = [
    ("quirks_1.py", "wait_is_dropped_with_a_model", [["starting", None], "HELLO"]),
    ("quirks_1.py", "iterator_from_a_reply_that_expired", ["starting", None, True]),
    ("quirks_1.py", "iterator_from_the_start", True),
    ("quirks_1.py", "rows_before_the_end", ["generator", "A0", True]),
    ("quirks_1.py", "rows_before_the_end_after_a_wait", ["generator", "A0", True]),
    ("quirks_1.py", "output_iterator_before_the_end", ["starting", None, "A0", True]),
    ("quirks_1.py", "stream_before_the_end", ["A0", True]),
    ("quirks_1.py", "rows_of_a_job_that_fails", "E1101:"),
    ("quirks_1.py", "delete_of_a_version", True),
    ("quirks_1.py", "throttled_reads", [["text"], True]),
    ("quirks_1.py", "a_reply_that_is_kept_alive", [201, " ", "HELLO"]),
    ("quirks_1.py", "training_read_as_prediction", "canceled"),
    ("quirks_1.py", "training_of_the_newest_version", ["canceled", "canceled"]),
    ("quirks_1.py", "webhook_completed", ["succeeded"]),
    ("quirks_1.py", "webhook_without_filter", True),
    ("quirks_1.py", "a_prediction_whose_data_is_gone", ["succeeded", None, ""]),
    ("quirks_1.py", "a_stream_that_is_not_there", "ValueError"),
    ("quirks_1.py", "old_header", 200),
    ("quirks_1.py", "unknown_base", [404, True]),
    ("quirks_1.py", "numbers_of_many_kinds", [[2, 4, 6], ["bright", "dark"]]),
    ("quirks_2.py", "short_timeout", ["HELLO", 1]),
    ("quirks_2.py", "cut_connections", ["ONCE", 1]),
    ("quirks_2.py", "throttled_reads", ["text"]),
    ("quirks_2.py", "throttled_without_retries", [True, True, "0"]),
    ("quirks_2.py", "rows_before_the_end", ["A0", True]),
    ("quirks_2.py", "use_of_an_iterator", [["ONE", "TWO"], ["ALONE"], ["ALONE"]]),
    (
        "quirks_2.py",
        "a_version_object_that_is_not_waited_for",
        "Expected prediction output to be a list, got <class 'NoneType'>",
    ),
    ("quirks_2.py", "delete_of_a_version", True),
    ("quirks_2.py", "times", [True, True]),
    ("quirks_2.py", "order_of_models", [True, True]),
    ("quirks_2.py", "conflict_of_idempotency", "idempotency-mismatch"),
    ("quirks_js.mjs", "its_own_object_as_input", [422, False]),
    ("quirks_js.mjs", "cut_connections", ["ONCE", 3, 1]),
    ("quirks_js.mjs", "cut_connections_without_a_key", ["ONCE", 3, 1]),
    ("quirks_js.mjs", "throttled_reads", [429, True]),
    ("quirks_js.mjs", "rows_before_the_end", ["A0", 11, "LAST"]),
    ("quirks_js.mjs", "partial_output_in_progress", [11, [None, 8, 11]]),
    ("quirks_js.mjs", "dropped_option", "HELLO"),
    ("quirks_js.mjs", "progress", ["starting", "processing", "succeeded"]),
]
"""What only one client does: script, cell and answer."""


def cells_of(script: str) -> list[str]:
    """The cells that a script runs."""
    text = (CLIENTS / script).read_text()
    found = re.findall(r"^@cell\n(?:async )?def (\w+)|^  (?:async )?(\w+)(?:: |\()", text, re.MULTILINE)
    return [first or second for first, second in found]
