// Tables: a heading sorts, a long name opens by click or Enter.

function sortable(table) {
  const headings = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const first = [...body.rows]; // as the page was written
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      for (const other of headings) other.removeAttribute("aria-sort");
      const numbers = first.some((row) => row.cells[column].dataset.value !== undefined);
      // numbers first from the least, then from the most, then as written; names from A
      const next = { [null]: "ascending", ascending: "descending", descending: null }[before];
      if (next === null) { body.append(...first); return; }
      heading.setAttribute("aria-sort", next);
      const key = (row) => {
        const { value } = row.cells[column].dataset;
        return numbers ? (value === undefined ? NaN : Number(value)) : row.cells[column].textContent.trim();
      };
      const sign = next === "ascending" ? 1 : -1;
      body.append(...[...first].sort((one, other) => {
        const a = key(one), b = key(other);
        if (!numbers) return sign * a.localeCompare(b, "en", { numeric: true });
        return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b) || 0; // what is not known stays last
      }));
    });
  });
}

// What is longer than its place opens to its whole, and closes again.
function opensWhole(clipped) {
  const turn = () => clipped.setAttribute("aria-expanded", clipped.classList.toggle("whole"));
  clipped.tabIndex = 0;
  clipped.setAttribute("role", "button");
  clipped.setAttribute("aria-expanded", "false");
  clipped.addEventListener("click", turn);
  clipped.addEventListener("keydown", (key) => {
    if (key.key !== "Enter" && key.key !== " ") return;
    key.preventDefault();
    turn();
  });
}

document.documentElement.classList.add("scripted");
document.querySelectorAll("table.figures").forEach(sortable);
document.querySelectorAll(".figures .clip").forEach(opensWhole);
const title = document.querySelector("h1.clip");
if (title && title.scrollHeight > title.clientHeight + 2) opensWhole(title);
