#!/usr/bin/env bash
# How much memory 37,000 rows with pictures take when they are fetched in shuffled order.
#
#   benches/stream.sh [PYTHON]
#
# PYTHON has the `datasets` package. Writes a data set of 37,000 pictures of 30 KB (1.1 GB; real ones have about
# 100 KB, but would take 3.7 GB of disk) into a temporary folder three ways: as today's `datasets` writes it (row groups
# of up to 100 MB cut into pages), as older ones did (100 rows a group, no page index), and in large row groups without
# an index. Prints one JSON object for each.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cargo build --release --example stream_rows
for layout in pages groups large-groups; do
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
rows_per_group = {"pages": 3000, "groups": 100, "large-groups": 3000}[layout]
options = {"write_page_index": True, "use_content_defined_chunking": True} if layout == "pages" else {}
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
