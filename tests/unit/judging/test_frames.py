import pytest

from agent_rl.judging.result_frames import Raised, Returned, Tampered, Unheld, read_frames, value_of
from agent_rl.vocabulary.held_values import error_frame

IDS = ["aa", "bb"]
LOADED = '{"loaded":true}'


def test_answers_by_id_in_any_order() -> None:
    frames = [LOADED, '{"id":"cc","unheld":"type E"}', error_frame("bb", KeyError(1)), '{"id":"aa","value":{"t":[1]}}']
    read = read_frames(frames, [*IDS, "cc"])
    raised = read.by_id.pop("bb")
    assert read.by_id == {"aa": Returned('{"t":[1]}'), "cc": Unheld("type E")}
    assert read.load_error is None
    assert isinstance(raised, Raised) and raised.error == "KeyError: 1"
    assert raised.failure.kinds == ("KeyError", "LookupError", "Exception", "BaseException")
    assert value_of(Returned('{"t":[1]}')) == (1,)


def test_an_answer_that_never_came_is_missing() -> None:
    assert read_frames([LOADED, '{"id":"aa","value":1}'], IDS).by_id == {"aa": Returned("1")}
    assert read_frames([], IDS).by_id == {}


def test_a_program_that_did_not_load() -> None:
    assert read_frames(['{"load_error":"SyntaxError: x"}'], IDS).load_error == "SyntaxError: x"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (['{"id":"cc","value":1}'], "no open call"),
        (['{"id":"aa","value":1}', '{"id":"aa","value":1}'], "no open call"),
        (['{"id":"aa","value":1}', '{"id":"aa","unheld":"x"}'], "no open call"),
        (['{"id":"aa","value":1}', error_frame("aa", KeyError(1))], "no open call"),
        ([LOADED, LOADED], "unknown form"),
        (['{"id":"aa","value":1}', LOADED], "unknown form"),
        ([LOADED, *['{"id":"aa","value":1}'] * 3], "4 frames for 2 calls"),
        (["{"], "malformed"),
        (["PASS"], "malformed"),
        (["[" * 100_000], "malformed"),
        (["[1]"], "not an object"),
        (['{"passed":true}'], "unknown form"),
        (['{"id":"aa","error":"x","error":"y"}'], "not canonical"),
        (['{"id":"aa","error":"x"}'], "an error that is no exception"),
        (['{"id":"aa","error":{"x":["E",["E"],"",null,[],null]}}'], "not canonical"),
        (['{"id":"aa","unheld":"x","unheld":"y"}'], "malformed"),
        (['{"id":"aa","unheld":5}'], "wrong type"),
        (['{"id":5,"unheld":"x"}'], "wrong type"),
        (['{"load_error":"x"}', '{"id":"aa","value":1}'], "did not load"),
        (['{"load_error":5}'], "wrong type"),
    ],
)
def test_what_an_honest_run_does_not_write(frames: list[str], message: str) -> None:
    with pytest.raises(Tampered, match=message):
        read_frames(frames, IDS)


@pytest.mark.parametrize("text", ["NaN", '1,"x":2', "1}", '{"i":"0x1"}', "[" * 100_000, '"\\ud800"'])
def test_values_that_are_not_canonical(text: str) -> None:
    with pytest.raises(Tampered, match="not canonical"):
        value_of(Returned(text))
