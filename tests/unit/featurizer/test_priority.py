import threading

import pytest

from featurizer.priority import BACKGROUND_TURNS, Priority, PrioritySemaphore
from tests.waiting import eventually

WAIT_S = 20


def queued(semaphore: PrioritySemaphore, order: list[str], *who: tuple[str, Priority]) -> list[threading.Thread]:
    """Threads that wait for their turns, in the order given."""

    def take(name: str, priority: Priority) -> None:
        with semaphore.turn(priority):
            order.append(name)

    threads = []
    for name, priority in who:
        before = len(semaphore._waiting)
        threads.append(threading.Thread(target=take, args=(name, priority)))
        threads[-1].start()
        eventually(lambda before=before: len(semaphore._waiting) > before)
    return threads


def test_what_readers_wait_for_goes_first_and_equals_in_the_order_in_which_they_came() -> None:
    semaphore, order = PrioritySemaphore(), list[str]()
    with semaphore.turn(Priority.REACTION), semaphore.turn(Priority.BACKGROUND):
        threads = queued(
            semaphore,
            order,
            ("background", Priority.BACKGROUND),
            ("asked 1", Priority.REQUEST),
            ("asked 2", Priority.REQUEST),
            ("reaction", Priority.REACTION),
        )
    for thread in threads:
        thread.join(WAIT_S)
    assert order[:3] == ["reaction", "asked 1", "asked 2"]
    assert set(order) == {"reaction", "asked 1", "asked 2", "background"}


def test_background_work_that_is_under_way_holds_nobody_up() -> None:
    semaphore, order = PrioritySemaphore(1), list[str]()
    with semaphore.turn(Priority.BACKGROUND):
        [thread] = queued_now(semaphore, order)
        thread.join(WAIT_S)
        assert order == ["reaction"]


def queued_now(semaphore: PrioritySemaphore, order: list[str]) -> list[threading.Thread]:
    def take() -> None:
        with semaphore.turn(Priority.REACTION):
            order.append("reaction")

    thread = threading.Thread(target=take)
    thread.start()
    return [thread]


def test_as_many_turns_are_taken_at_a_time_as_there_are_places() -> None:
    semaphore, inside = PrioritySemaphore(2), threading.Barrier(2, timeout=WAIT_S)

    def take() -> None:
        with semaphore.turn(Priority.REQUEST):
            inside.wait()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert not inside.broken


@pytest.mark.parametrize("priority", Priority)
def test_a_turn_ends_when_its_work_fails(priority: Priority) -> None:
    semaphore = PrioritySemaphore()
    with pytest.raises(RuntimeError), semaphore.turn(priority):
        raise RuntimeError
    with semaphore.turn(priority):
        pass


def test_background_work_gets_on_however_much_others_have_to_do() -> None:
    semaphore, order = PrioritySemaphore(), list[str]()
    entered = [threading.Event() for _ in range(BACKGROUND_TURNS + 2)]
    leave = [threading.Event() for _ in entered]

    def ask(number: int) -> None:
        with semaphore.turn(Priority.REQUEST):
            entered[number].set()
            leave[number].wait(WAIT_S)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(entered))]

    def start(number: int, waiting: int) -> None:
        threads[number].start()
        eventually(lambda: sum(priority is Priority.REQUEST for priority, _ in semaphore._waiting) == waiting)

    start(0, waiting=0)
    assert entered[0].wait(WAIT_S)
    start(1, waiting=1)
    threads += queued(semaphore, order, ("background", Priority.BACKGROUND))
    for number in range(1, BACKGROUND_TURNS + 1):
        start(number + 1, waiting=2)  # so that somebody waits when the one before leaves
        assert order == []
        leave[number - 1].set()
        assert entered[number].wait(WAIT_S)
    eventually(lambda: order == ["background"])
    for event in leave:
        event.set()
    for thread in threads:
        thread.join(WAIT_S)
