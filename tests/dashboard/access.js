// What a machine can tell of accessibility: a sentence about every element that fails.
() => {
  const found = [];
  const visible = (e) => e.checkVisibility() && !e.closest(".hidden, [aria-hidden=true]");
  const name = (e) => (e.getAttribute("aria-label") || [...(e.getAttribute("aria-labelledby") || "").split(" ")].map((id) => document.getElementById(id)?.textContent).join("") || [...(e.labels || [])].map((l) => l.textContent).join("") || e.textContent || "").trim();
  const tell = (what, e) => found.push(`${what}: ${e.outerHTML.slice(0, 160)}`);
  for (const e of document.querySelectorAll("button, a, select, input, summary, [role=img], [role=grid], [role=region], [role=gridcell], [role=group], nav, aside, canvas:not([aria-hidden])")) if (visible(e) && !name(e)) tell("without a name", e);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.filter((each) => each === id).length > 1) found.push(`id twice: ${id}`);
  for (const e of document.querySelectorAll("[aria-labelledby]")) for (const id of e.getAttribute("aria-labelledby").split(" ")) if (!document.getElementById(id)) tell("labelled by nothing", e);
  let level = 0;
  for (const e of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const now = Number(e.tagName[1]);
    if (now > level + 1) tell(`heading ${now} after ${level}`, e);
    level = now;
  }
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  if (!document.documentElement.lang) found.push("no language");
  for (const table of document.querySelectorAll("table")) {
    if (!table.querySelector("thead th[scope=col]")) tell("table without column headers", table);
    if (table.tBodies[0]?.rows.length && !table.querySelector("tbody th[scope=row]")) tell("table without row headers", table);
    if (!table.caption && !name(table.closest("[aria-label]") || table)) tell("table without a name", table);
  }
  for (const e of document.querySelectorAll(".scroll, .notices, .runs, pre")) if (visible(e) && e.scrollHeight > e.clientHeight + 1 && e.tabIndex < 0) tell("scrolls, and not by keyboard", e);
  for (const e of document.querySelectorAll("button, a, input, select, summary, [role=gridcell]")) {
    const box = e.getBoundingClientRect();
    if (visible(e) && (e.closest("table") && e.matches("a, .sort") ? box.height < 20 : box.height < 20 || box.width < 20) && !["checkbox"].includes(e.type) && !e.matches("p a, .skip")) tell(`small target ${Math.round(box.width)}×${Math.round(box.height)}`, e);
  }
  return found;
}
