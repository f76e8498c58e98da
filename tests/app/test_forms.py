"""Typed text and JSON become a TrainConfig, or errors by field."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import forms
from app.forms import FormError
from trainer.config import OPTIONS, TrainConfig


def errors_of(**values: object) -> dict[str, str]:
    with pytest.raises(FormError) as caught:
        forms.parse(values)
    return caught.value.errors


def test_nothing_typed_is_the_tutorial():
    assert forms.parse({}).config == TrainConfig()


def test_the_forms_own_values_give_the_same_config_back():
    config = TrainConfig(
        epochs=3, lr=0.0012345678901, weight_decay=1e-05, train_size=2048, device="cuda:1", dropout=0.0
    )
    shown = {
        field.name: field.value
        for group in forms.groups(config.to_dict(), {}, {"device": [("", [("auto", "Auto"), ("cuda:1", "x")])]})
        for field in group.fields
    }
    assert forms.parse(shown).config == config


def test_text_is_trimmed_and_tags_are_split():
    given_ = forms.parse({"name": "  first ", "tags": "a, b,, a ,c", "notes": "one\r\ntwo", "epochs": " 3 "})
    assert (given_.name, given_.tags, given_.notes) == ("first", ("a", "b", "c"), "one\ntwo")
    assert given_.config.epochs == 3


BAD = {
    "empty": "",
    "negative": "-1",
    "huge": "9" * 60,
    "far too many digits": "9" * 10_000,
    "NaN": "nan",
    "infinite": "inf",
    "text": "many",
    "markup": "<script>alert(1)</script>",
    "10,000 characters": "x" * 10_000,
    "underscores": "1_0",
    "another script's digits": "٣",
    "a NUL": "1\0",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_setting_refuses_what_makes_no_sense_in_words(option, text: str):  # noqa: ANN001
    if text == "" and option.optional:
        assert forms.parse({option.name: text}).config.to_dict()[option.name] is None
        return
    errors = errors_of(**{option.name: text})
    assert set(errors) == {option.name}
    assert errors[option.name][0].isupper()
    assert errors[option.name].endswith(".")
    assert len(errors[option.name]) < 200


@pytest.mark.parametrize("name", [option.name for option in OPTIONS.values() if option.kind in ("integer", "number")])
def test_zero_is_refused_where_it_makes_no_sense(name: str):
    option = OPTIONS[name]
    if option.minimum == 0:
        assert forms.parse({name: "0"}).config.to_dict()[name] == 0
    else:
        assert set(errors_of(**{name: "0"})) == {name}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "x" * 121}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": 7}, "name"),
        ({"notes": "x" * 10_000}, "notes"),
        ({"tags": ["x" * 41]}, "tags"),
        ({"tags": [f"t{i}" for i in range(21)]}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
        ({"epochs": 2.5}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": [1]}, "epochs"),
        ({"epochs": None}, "epochs"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": 10**400}, "lr"),
        ({"arch": ["net"]}, "arch"),
        ({"device": 3}, "device"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_json_of_the_wrong_kind_is_refused_at_its_field(values: dict[str, object], field: str):
    assert set(errors_of(**values)) == {field}


def test_all_errors_are_told_at_once():
    assert set(errors_of(epochs="none", lr="-1", name="x" * 200)) == {"epochs", "lr", "name"}


def test_a_batch_that_the_images_do_not_fill_is_refused():
    assert "larger than the 100 training images" in errors_of(train_size="100")["batch_size"]


def test_what_was_typed_stays_in_the_form():
    errors = errors_of(epochs="<b>many</b>")
    fields = {f.name: f for g in forms.groups({"epochs": "<b>many</b>"}, errors, {}) for f in g.fields}
    assert fields["epochs"].value == "<b>many</b>"
    assert fields["epochs"].error == "Must be a whole number."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


# The first draw of text builds Hypothesis's table of all characters, which is slow on a cold disk.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([*OPTIONS, "name", "notes", "tags"]), json_values))
def test_whatever_comes_it_is_a_config_or_errors_at_the_fields_that_came(values: dict[str, object]):
    outcome = parsed(values)
    if isinstance(outcome, TrainConfig):
        assert TrainConfig.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome
    else:
        assert outcome
        assert set(outcome) <= set(values) | {"batch_size"}


def parsed(values: dict[str, object]) -> TrainConfig | dict[str, str]:
    try:
        return forms.parse(values).config
    except FormError as error:
        return error.errors
