"""The load programs behind every figure: ours and its floor, side by side in one run."""
