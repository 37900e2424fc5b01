"use strict";
(() => {
  const all = (query) => document.querySelectorAll(query);
  const one = (query) => document.querySelector(query);
  const mb = (bytes) => Math.ceil(bytes / 1048576) + " MB";
  const orders = {
    targets: (a, b) => (a.state === "up") - (b.state === "up"),
    services: (a, b) => b.p99 - a.p99,
  };
  const fill = (table, list) => {
    const names = [...table.querySelectorAll("th")].map((head) => head.dataset.k);
    const body = document.createElement("tbody");
    for (const item of list) {
      const row = body.insertRow();
      for (const name of names) {
        const cell = row.insertCell();
        cell.textContent = item[name] ?? "";
        if (name === "state") cell.className = item[name].replace(" ", "-");
      }
    }
    table.tBodies[0].replaceWith(body);
  };
  const show = (state) => {
    for (const table of all("table")) {
      const name = table.dataset.s;
      const list = state[name];
      if (orders[name]) list.sort(orders[name]);
      fill(table, list.slice(0, 200));
      const section = table.closest("section");
      section.hidden = list.length === 0;
      const more = list.length > 200 ? `and ${list.length - 200} more, see /state.json` : "";
      section.querySelector(".more").textContent = more;
    }
    const facts = {
      path: state.config.path,
      readAt: state.config.readAt,
      started: state.started,
      turn: state.loop.longestTurnMs + " ms",
      memory: mb(state.memory.now) + " of at most " + mb(state.memory.bound),
      files: state.descriptors.used + " of " + state.descriptors.limit,
      errors: state.config.lastError ?? "",
    };
    for (const [name, text] of Object.entries(facts)) one("#" + name).textContent = text;
    one("#banner").hidden = !state.config.lastError;
  };
  const tick = async () => {
    try {
      const answer = await fetch("state.json", { cache: "no-store" });
      if (!answer.ok) throw new Error("status " + answer.status);
      show(await answer.json());
      one("#live").textContent = "This page is up to date.";
    } catch (error) {
      one("#live").textContent = "The gateway gives no answer (" + error.message + "): this is its last known state.";
    }
    setTimeout(tick, document.hidden ? 10000 : 2000);
  };
  setTimeout(tick, 2000);
})();
