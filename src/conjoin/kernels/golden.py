"""Golden digests of the self-test, written by tools/vectors/make_golden.py from the reference; never edited by hand."""

GOLDEN: dict[str, str] = {
    "linear": "fc25b1e9b22361a41cd86cff0e0282024a4f0de45f89d38d85eb061db0c47d75",
    "count_nonfinite": "97675557a1a5f06458f4506e2606113b8abef1d7fbf7561eb937f04baf53e991",
    "high_histograms": "a6570e41c3a9fa08cff95a06489b76e3dbac0b5c128456398363257182314b81",
    "low_histograms": "c0cb70dd266e51339735cd921e4200286c50d64e55942acec74310bb334b34e7",
    "tie_histograms": "402c4219c600753846d2fea4fcb465e469a4add9a4eb72ead15611ba7b106055",
    "elected_signs": "3741960a2f3ca66e883ddc455e57b3d659ae3ec34736e929feb8c3d234cf091b",
    "ties": "097242b2824587abbac6610ee7a36e3d5ac75b13763043d0181e0f2d5c062d94",
    "delta_sum": "0861c0265ddae867b608c4422ec3af640ebb76e8d5d33449732693c137472f03",
    "draws": "3fa1629424e97e42591f871a831da5c2ba71a394cb4eae4ebdee57b134951f71",
    "block_gram": "a7eca7e8897b979501745da8d7c770420487ab647de1ed8e28786dbc9fe3b0e9",
    "block_l1": "0f506dd53249f9cc81f2cdcc5ddb6a7050051e13bb745f196083c7e932090b9b",
}
