"""Golden digests of the self-test, written by tools/vectors/make_golden.py from the reference; never edited by hand."""

GOLDEN: dict[str, str] = {
    "elementwise.linear": "fc25b1e9b22361a41cd86cff0e0282024a4f0de45f89d38d85eb061db0c47d75",
    "order.high_histograms": "72266dfbc6cb6da5e8ba30e6dfadb5b14341605aeefa3bdfdcb0c08a91244c14",
    "order.low_histograms": "0ad5ac2c52abd3488d4283f0858a81f325debcab1cf12adf99c63779ce92a9b8",
    "order.tie_histograms": "d116b9ce9fe09b7f79f09928b1fdf17b585805cbbd7dc0d886e6eef9eb77ce39",
    "elementwise.elected_signs": "7b6ced4ed4b134a6dab51cd61868d2b40937ff912f80e4e7b6e23ed8a688e096",
    "elementwise.ties": "097242b2824587abbac6610ee7a36e3d5ac75b13763043d0181e0f2d5c062d94",
    "elementwise.delta_sum": "0861c0265ddae867b608c4422ec3af640ebb76e8d5d33449732693c137472f03",
    "streams.draws": "3fa1629424e97e42591f871a831da5c2ba71a394cb4eae4ebdee57b134951f71",
    "reductions.block_gram": "a7eca7e8897b979501745da8d7c770420487ab647de1ed8e28786dbc9fe3b0e9",
    "reductions.block_l1": "0f506dd53249f9cc81f2cdcc5ddb6a7050051e13bb745f196083c7e932090b9b",
    "reductions.block_moments": "79180b7b4fc40acc581cc6b1f98555f99939aad85974eca53880ab488501f4a4",
    "selection.row_ranks": "d015422184b49746a2808687c078546165c79885597f3b6506876ca448d60d4f",
    "selection.row_bounds": "56d2cfc6502a7aec26b4da93841610a86bb8a782ba27502cdf7e3b6507010483",
    "selection.band_sum": "0e4406a6da5f890a15eb7ee5a6d8a2b9f23f6b8d34360fab2b9f1eea86be046c",
    "selection.dropped_signs": "f25ae4e2255ade7c58afebf4f5c1c953964f8a2c38f8ab2d63b6a6ec0f85e274",
    "selection.dropped_ties": "752323bd0c30e219ad1a37529e683c67bd157ea292da07ba99d086c05eab6d29",
    "matrix.gemm": "8832d79f6639bb25c4427b3791e38665c1754c5c996c50dc174f8494c7c9e934",
    "eigen.eigh": "c94bf3c152c183e88ac7e126d03a166c5465391172e351ab5e0a6f36e2d0e66a",
}
