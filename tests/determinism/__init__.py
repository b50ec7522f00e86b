"""Nothing but the inputs may change a bit: no processor, compiler, library, thread, slice, order or rounding state."""
