def write(results, out): return out
