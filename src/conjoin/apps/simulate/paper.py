"""Figures of the paper's Tier 3 (Tables 6 to 9), in milliseconds; they are copied, not measured."""

TABLE6_GOSSIP_MS = 492.8
TABLE6_RESOLVE_MS = 19_700
TABLE7 = {"partition gossip": "4.6 ms", "distinct roots": "10/10", "healing": "556.6 ms", "converged": "100/100"}
TABLE8 = {
    "ada_merging": (0.6, 200),
    "adarank": (0.6, 102),
    "dam": (0.7, 112),
    "dare": (0.6, 80),
    "dare_ties": (1.0, 79),
    "della": (0.8, 122),
    "dual_projection": (0.6, 26),
    "emr": (0.6, 22),
    "evolutionary_merge": (0.7, 86_400),
    "fisher_merge": (0.6, 7),
    "genetic_merge": (0.5, 87_960),
    "led_merge": (0.6, 143),
    "linear": (0.7, 11),
    "model_breadcrumbs": (0.6, 22),
    "negative_merge": (0.7, 8),
    "regression_mean": (0.7, 8),
    "representation_surgery": (0.7, 9),
    "safe_merge": (0.6, 29),
    "slerp": (0.6, 14),
    "split_unlearn_merge": (0.6, 43),
    "star": (0.8, 101),
    "svd_knot_tying": (0.8, 154),
    "task_arithmetic": (0.7, 8),
    "ties": (0.6, 29),
    "weight_average": (0.7, 8),
    "weight_scope_alignment": (0.7, 18),
}
TABLE9 = {2: (0.0, 0.8), 5: (0.1, 3.7), 10: (0.6, 16.8), 20: (4.2, 74.7), 30: (12.3, 163.9), 50: (127.3, 445.2)}
