from tempograd.predictor.card import model_card

DOCUMENT = {
    "model": "ridge",
    "binding": {
        "unit": "ms",
        "space": "darts",
        "encoding": "pruned",
        "fingerprint_id": "0123456789ab",
        "fingerprint_json": '{"place": "local"}',
    },
    "card": {"mape_pct": 2.5},
    "conformal_residuals": [0.01] * 30,
    "created_by": {"tempograd": "0.1.0"},
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
        "in ms",
    )
    assert [part for part in parts if part not in card] == []
    assert '"mape_pct": 2.5' in card


def test_says_that_there_are_no_intervals():
    assert "saved without held-out networks" in model_card(DOCUMENT | {"conformal_residuals": None})


def test_opens_with_a_header_for_model_hubs():
    opening, header, _ = model_card(DOCUMENT).split("---\n", 2)
    assert opening == ""
    assert "library_name: tempograd" in header.splitlines()
