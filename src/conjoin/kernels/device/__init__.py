"""The arithmetic of a device: elementwise operations, order statistics and draws on a GPU, by torch; the same bytes.

Torch is imported when a family is. Only operations of torch are used whose result IEEE 754 fixes and which no kernel of
torch fuses with another: + − × ÷ between float64 tensors, comparisons, `where`, integers, bits, widening and one
rounding conversion, counts of integers. Never a Python number as a factor or divisor, `alpha=`, `addcmul`, `lerp`, a
sum of floats, `topk`, random numbers, autocast. What is missing here is computed by the processor.
"""
