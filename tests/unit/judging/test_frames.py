import pytest

from agent_rl.judging.result_frames import Raised, Returned, Tampered, read_frames, value_of

IDS = ["aa", "bb"]
LOADED = '{"loaded":true}'


def test_answers_by_id_in_any_order() -> None:
    read = read_frames([LOADED, '{"id":"bb","error":"E: no"}', '{"id":"aa","value":{"t":[1]}}'], IDS)
    assert read.by_id == {"aa": Returned('{"t":[1]}'), "bb": Raised("E: no")}
    assert read.load_error is None
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
        (['{"id":"aa","value":1}', '{"id":"aa","error":"x"}'], "no open call"),
        ([LOADED, LOADED], "unknown form"),
        (['{"id":"aa","value":1}', LOADED], "unknown form"),
        ([LOADED, *['{"id":"aa","value":1}'] * 3], "4 frames for 2 calls"),
        (["{"], "malformed"),
        (["PASS"], "malformed"),
        (["[" * 100_000], "malformed"),
        (["[1]"], "not an object"),
        (['{"passed":true}'], "unknown form"),
        (['{"id":"aa","error":"x","error":"y"}'], "malformed"),
        (['{"id":"aa","error":5}'], "wrong type"),
        (['{"id":5,"error":"x"}'], "wrong type"),
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
