#!/usr/bin/env bash
# How much memory 37,000 rows with pictures take when they are fetched in shuffled order.
#
#   benches/stream.sh [PYTHON]
#
# PYTHON has the `pyarrow` package. Writes a data set of 37,000 pictures of 30 KB (1.1 GB; real ones have about
# 100 KB, but would take 3.7 GB of disk) into a temporary folder in the two ways of Hugging Face's `datasets`: as
# it does today (pictures neither compressed nor in a dictionary, cut into pages with an index) and as it did
# (100 rows a group in one compressed dictionary page, no index). Prints one JSON object for each.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cargo build --release --example stream_rows
for layout in pages groups; do
    "$python" - "$folder/train.parquet" "$layout" <<'PYTHON'
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

path, layout = sys.argv[1:]
rng = random.Random(0)
schema = pa.schema({
    "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    "problem": pa.string(),
    "solution": pa.string(),
})
if layout == "pages":
    rows_per_group = 3000
    options = {"write_page_index": True, "use_content_defined_chunking": True, "use_dictionary": False,
               "compression": "none"}
else:
    rows_per_group = 100
    options = {}
with pq.ParquetWriter(path, schema, **options) as writer:
    for first in range(0, 37_000, rows_per_group):
        rows = range(first, min(first + rows_per_group, 37_000))
        images = [{"bytes": rng.randbytes(30_000), "path": None} for _ in rows]
        problems = [f"How many items are in picture {row}?" for row in rows]
        table = pa.table([images, problems, [str(row % 10) for row in rows]], schema=schema)
        writer.write_table(table, row_group_size=rows_per_group)
PYTHON
    printf '%s: ' "$layout"
    target/release/examples/stream_rows "$folder/train.parquet"
done
