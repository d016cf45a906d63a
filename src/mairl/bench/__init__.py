"""Speed: ours and installed peers, side by side in one run. Rates are medians; compilation is reported apart."""
