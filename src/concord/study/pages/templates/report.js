"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const points = (value, digits = 2) =>
    (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);

  // -- a group is one tab stop; arrows move inside it
  const GROUPS = ".keys, .switch, .panels, thead, tbody";
  const members = (group) => all("[data-member]", group).filter((part) => part.checkVisibility());
  const enter = (group) => {
    const shown = members(group);
    const stop = shown.find((part) => part.tabIndex === 0) ?? shown[0] ?? group.querySelector("[data-member]");
    all("[data-member]", group).forEach((part) => (part.tabIndex = part === stop ? 0 : -1));
  };
  const gather = (parts) => {
    parts.forEach((part) => {
      part.setAttribute("data-member", "");
      part.tabIndex = -1;
    });
    new Set(parts.map((part) => part.closest(GROUPS))).forEach(enter);
  };
  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const towards = (part, key) => {
    const shown = members(part.closest(GROUPS));
    if (key === "Home" || key === "End") return shown.at(key === "Home" ? 0 : -1);
    if (!part.matches("td") || key === "ArrowLeft" || key === "ArrowRight") return shown[shown.indexOf(part) + STEPS[key]];
    const column = shown.filter((other) => other.cellIndex === part.cellIndex);
    return column[column.indexOf(part) + STEPS[key]];
  };
  document.addEventListener("keydown", (event) => {
    const part = event.target.closest("[data-member]");
    if (!part || !(event.key in STEPS || event.key === "Home" || event.key === "End")) return;
    const next = towards(part, event.key);
    event.preventDefault();
    if (!next) return;
    part.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // -- one baseline at a time; paper shows all
  const compareWith = (baseline) => {
    all("[data-against]").forEach((part) => part.classList.toggle("away", part.dataset.against !== baseline));
    all(".switch button").forEach((b) => b.setAttribute("aria-pressed", String(b.value === baseline)));
  };
  all(".switch").forEach((group) => {
    group.hidden = false;
    group.addEventListener("click", (event) => event.target.value && compareWith(event.target.value));
  });
  const first = document.querySelector(".switch button");
  if (first) compareWith(first.value);

  // -- conditions stand out in all curves at once: by pointer for a moment, by click until the next
  let kept = null;
  const light = (c) => {
    document.body.classList.toggle("focus", c !== null);
    all("[data-c]").forEach((part) => part.classList.toggle("lit", part.dataset.c === c));
  };
  all(".keys").forEach((group) => (group.hidden = false));
  all(".keys button, .curve").forEach((part) => {
    part.addEventListener("pointerenter", () => light(part.dataset.c));
    part.addEventListener("pointerleave", () => light(kept));
  });
  all(".keys button").forEach((button) =>
    button.addEventListener("click", () => {
      kept = kept === button.dataset.c ? null : button.dataset.c;
      all(".keys button").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.c === kept)));
      light(kept);
    }),
  );

  // -- tables sort and filter
  const order = (row, i) => row.cells[i].dataset.order ?? row.cells[i].textContent;
  const sort = (table, i, head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    const number = head.classList.contains("number");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [order(a, i), order(b, i)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const difference = number ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return up ? difference : -difference;
    });
    all("th[aria-sort]", table).forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  };
  const equip = (figure) => {
    const table = figure.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      const button = make("button", { type: "button" }, head.textContent.trim());
      button.addEventListener("click", () => sort(table, i, head));
      head.dataset.title = button.textContent; // what paper shows
      head.replaceChildren(button);
    });
    const tools = make("div", { class: "tools" });
    const search = make("input", { type: "search", placeholder: "any text" });
    const facets = heads.flatMap((head, i) => {
      if (!head.hasAttribute("data-facet")) return [];
      const values = [...new Set(rows.map((row) => row.cells[i].textContent.trim()))];
      if (values.length < 2) return [];
      const select = make("select", { name: head.textContent.trim() }, make("option", { value: "" }, "all"));
      values.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
      values.forEach((value) => select.append(make("option", { value }, value)));
      tools.append(make("label", {}, head.textContent.trim(), select));
      return [[i, select]];
    });
    const count = make("output");
    tools.append(make("label", {}, "find", search), count);
    const filter = () => {
      const wanted = search.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const fits =
          facets.every(([i, select]) => !select.value || row.cells[i].textContent.trim() === select.value) &&
          (!wanted || row.textContent.toLowerCase().includes(wanted));
        row.hidden = !fits;
        shown += fits;
      }
      count.textContent = `${shown} of ${rows.length} rows`;
      enter(table.tBodies[0]); // the row that a tab led to may be gone
    };
    tools.addEventListener("input", filter);
    if (rows.length > 6) table.closest(".scroll").before(tools);
    filter();
    gather(all("button", table.tHead));
  };

  // -- every number leads to the rows it is made of
  const held = JSON.parse(document.getElementById("results").textContent);
  const at = Object.fromEntries(held.columns.map((name, i) => [name, i]));
  const keys = ["study", "regime", "task", "metric"].filter((key) => key in at);
  const behind = (wanted) =>
    held.rows.filter(
      (row) =>
        keys.every((key) =>
          wanted[key] !== undefined
            ? String(row[at[key]]) === wanted[key]
            : key !== "metric" || held.judged[row[at.task]] === row[at.metric],
        ) &&
        (wanted.condition === undefined || [wanted.condition, wanted.baseline].includes(row[at.condition])),
    );
  const place = (row) => [...keys, "seed"].map((key) => row[at[key]]).join("\u0000");
  const shown = (value) => (value === null ? "\u2013" : (100 * value).toFixed(2));
  const dialog = document.getElementById("rows-behind");
  const texts = new Set(["study", "condition", "regime", "task", "metric"]);
  const line = (cells, heads, name) =>
    make("tr", {}, ...cells.map((cell, i) => make(name, texts.has(heads[i]) ? {} : { class: "number" }, String(cell))));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const trace = (wanted) => {
    const found = behind(wanted);
    const mine = found.filter((row) => [undefined, row[at.condition]].includes(wanted.condition));
    const base = new Map(
      wanted.baseline ? found.filter((row) => row[at.condition] === wanted.baseline).map((row) => [place(row), row]) : [],
    );
    // What is the same in all rows is said once, above them.
    const [same, differ] = [(n) => n === 1, (n) => n > 1].map((rule) =>
      keys.filter((key) => rule(new Set(mine.map((row) => row[at[key]])).size)),
    );
    const heads = [...differ, "seed", wanted.condition ?? "value"];
    heads.push(...(wanted.baseline ? [wanted.baseline, "difference"] : []), "lines");
    const differences = [];
    const rows = mine.map((row) => {
      const other = base.get(place(row));
      const cells = [...differ.map((key) => row[at[key]]), row[at.seed], shown(row[at.value])];
      if (wanted.baseline) {
        const sign = held.lower.includes(row[at.metric]) ? -100 : 100;
        if (other) differences.push(sign * (row[at.value] - other[at.value]));
        cells.push(other ? shown(other[at.value]) : "\u2013", other ? points(differences.at(-1)) : "\u2013");
      }
      return line([...cells, other ? `${row[at.line]}, ${other[at.line]}` : row[at.line]], heads, "td");
    });
    const foot = [...differ.map(() => ""), "mean", shown(mean(mine.map((row) => row[at.value])))];
    if (wanted.baseline) foot.push(shown(mean([...base.values()].map((row) => row[at.value]))), points(mean(differences)));
    const table = make("table", {}, make("thead", {}, line(heads, heads, "th")), make("tbody", {}, ...rows));
    table.append(make("tfoot", {}, line([...foot, ""], heads, "td")));
    dialog.querySelector(".found").replaceChildren(table);
    const what = wanted.baseline ? `${wanted.condition} against ${wanted.baseline}` : wanted.condition;
    dialog.querySelector(".what").textContent = [what, ...same.map((key) => mine[0][at[key]])].join(", ");
    dialog.showModal();
  };
  const traced = all("[data-regime][data-condition], [data-task][data-condition]");
  traced.forEach((part) => {
    part.setAttribute("data-trace", "");
    const drawing = part.closest("svg.plot");
    if (!drawing) return;
    drawing.setAttribute("role", "group"); // an image would hide its parts from readers of the screen
    part.setAttribute("role", "button");
    part.setAttribute("aria-label", part.querySelector("title").textContent.split("\n")[0]);
  });
  gather(traced);
  all(".keys, .switch").forEach((group) => gather(all("button", group)));
  all("figure.listing").forEach(equip);
  document.addEventListener("click", (event) => {
    const part = event.target.closest("[data-trace]");
    if (part) trace({ ...part.dataset });
    else if (event.target === dialog) dialog.close();
  });
  document.addEventListener("keydown", (event) => {
    const part = event.key === "Enter" && event.target.closest("[data-trace]");
    if (part) trace({ ...part.dataset });
  });

  // -- all rows, drawn when they are asked for
  const drawer = document.getElementById("all-rows");
  drawer.addEventListener(
    "toggle",
    () => {
      const heads = held.columns.map((name) =>
        make("th", texts.has(name) ? { "data-facet": "" } : { class: "number" }, name),
      );
      const body = held.rows.map((values) =>
        make(
          "tr",
          {},
          ...values.map((value, i) =>
            make("td", texts.has(held.columns[i]) ? {} : { class: "number", "data-order": value ?? "" }, String(value ?? "\u2013")),
          ),
        ),
      );
      const table = make("table", { class: "sortable" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
      const figure = make("figure", { class: "listing" }, make("div", { class: "scroll tall" }, table));
      drawer.append(figure);
      equip(figure);
    },
    { once: true },
  );

  // -- gallery: as one condition sees it
  const gallery = document.getElementById("samples");
  if (gallery) {
    const [eye, agree, who] = ["eye", "agree", "who"].map((id) => document.getElementById(`gallery-${id}`));
    const count = document.getElementById("gallery-count");
    const cards = all(".card", gallery);
    const more = document.getElementById("gallery-more");
    let most = 9;
    const choose = () => {
      let visible = 0;
      for (const card of cards) {
        const line = all("tr[data-who]", card).find((tr) => tr.dataset.eye === eye.value);
        all("tr[data-who]", card).forEach((tr) => tr.classList.toggle("lit", tr === line));
        const fits =
          (!agree.value || card.dataset.agree === agree.value) && (!who.value || line?.dataset.who === who.value);
        visible += fits;
        card.hidden = !fits || visible > most;
      }
      count.textContent = `${visible} of ${cards.length} samples`;
      more.hidden = visible <= most;
      more.textContent = `Show all ${visible}`;
    };
    document.getElementById("gallery-tools").hidden = false;
    [eye, agree, who].forEach((select) => select.addEventListener("input", choose));
    more.addEventListener("click", () => {
      most = Infinity;
      choose();
    });
    choose();
  }

  // -- paper shows what is folded
  addEventListener("beforeprint", () => all("details:not(.screen, #all-rows)").forEach((part) => (part.open = true)));
})();
