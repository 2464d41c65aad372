"""Does many small things at once, a bounded number at a time, in threads that never hold up the end of the process."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_flight(function: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Result]]:
    """Calls a function for every item and yields what it answers, as it comes.

    Args:
        function: Called in several threads; what it raises is raised here.
        items: What to call it with; read as it is needed.
        most: How many calls run at once.
    """
    source = iter(items)
    lock = threading.Lock()
    stop = threading.Event()
    answers: queue.SimpleQueue[tuple[Item, Result] | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    item = next(source, stop)
                if item is stop:
                    break
                answers.put((item, function(item)))  # type: ignore[arg-type]
            answers.put(None)
        except BaseException as error:
            answers.put(error)

    for number in range(most):
        threading.Thread(target=work, name=f"in-flight-{number}", daemon=True).start()
    busy = most
    try:
        while busy:
            answer = answers.get()
            if answer is None:
                busy -= 1
            elif isinstance(answer, BaseException):
                raise answer
            else:
                yield answer
    finally:
        stop.set()
