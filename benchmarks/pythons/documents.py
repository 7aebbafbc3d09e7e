"""Documents of JSON: made, parsed, changed and written again; the last few are kept."""

import json

DOCUMENTS, ROWS, KEPT = 40, 600, 6

kept = []
for turn in range(DOCUMENTS):
    rows = [
        {"id": n, "name": f"name {n}", "tags": [f"tag {n % k}" for k in range(2, 9)], "at": n / 7}
        for n in range(ROWS)
    ]
    document = json.loads(json.dumps(rows))
    for row in document[turn % 3 :: 3]:
        row["name"] += f" of {turn}"
        row.pop("at")
    kept.append((document, json.dumps(document, indent=1)))
    del kept[:-KEPT]
