"""Documents as trees whose nodes know their parents: what is dropped waits for the collector."""

import time
import xml.dom.minidom

DOCUMENTS, KEPT = 50, 12

line = '<item id="{0}" kind="k{1}"><name>name {0}</name><note>{2}</note></item>'
kept = []
for turn in range(DOCUMENTS):
    rows = "".join(line.format(n, n % 13, "text " * (n % 7)) for n in range(400))
    tree = xml.dom.minidom.parseString(f"<list>{rows}</list>")
    for item in tree.getElementsByTagName("item"):
        if int(item.getAttribute("id")) % 3 == turn % 3:
            item.setAttribute("seen", str(turn))
    kept.append(tree)
    del kept[:-KEPT], tree, item
time.sleep(1.5)
