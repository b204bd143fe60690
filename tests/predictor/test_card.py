from tempograd.predictor.card import model_card

DOCUMENT = {
    "model": "ridge",
    "binding": {
        "unit": "ms",
        "quantity": "latency_ms",
        "space": "darts",
        "encoding": "pruned",
        "fingerprint_id": "0123456789ab",
        "fingerprint_json": '{"place": "local"}',
    },
    "card": {"mape_pct": 2.5},
    "conformal_residuals": [0.01] * 30,
    "created_by": {"tempograd": "0.1.0"},
    "heads": [],
}


def test_says_what_the_numbers_are_of():
    card = model_card(DOCUMENT)
    parts = (
        "`ridge`",
        "`darts`",
        "`pruned`",
        "`0123456789ab`",
        '"place": "local"',
        "30 held-out",
        "tempograd 0.1.0",
        "`latency_ms`, in ms,",
    )
    assert [part for part in parts if part not in card] == []
    assert '"mape_pct": 2.5' in card


def test_says_that_there_are_no_intervals():
    assert "saved without held-out networks" in model_card(DOCUMENT | {"conformal_residuals": None})


def test_says_what_else_is_predicted():
    binding = DOCUMENT["binding"] | {"unit": "bytes", "quantity": "memory_bytes", "encoding": "counts"}
    other = {"model": "trees", "binding": binding, "card": {"mape_pct": 7.5}, "conformal_residuals": None}
    card = model_card(DOCUMENT | {"heads": [other]})
    section = card[card.index("## Also predicted: `memory_bytes`, in bytes") : card.index("## Device")]
    for part in ("`trees`", "`counts`", "none: saved without", '"mape_pct": 7.5'):
        assert part in section


def test_opens_with_a_header_for_model_hubs():
    opening, header, _ = model_card(DOCUMENT).split("---\n", 2)
    assert opening == ""
    assert "library_name: tempograd" in header.splitlines()
