// Follows the run: asks the server for news, and puts what has changed into the page where it stands.
"use strict";
(function () {
  const EVERY_MS = 2000;
  const PLACES = "main > section[id], main details[data-key], main .plot[id]"; // what can be found again
  let version = document.documentElement.dataset.version;

  const keyOf = element => element.id || element.dataset.key;
  const placesIn = root => Array.from(root.querySelectorAll(PLACES));
  const foldsIn = root => Array.from(root.querySelectorAll("details[data-key]"));
  const tablesIn = root => Array.from(root.querySelectorAll(".scroll"));

  // Remembers what the server sent of a section, before folds are opened and samples filtered.
  function remember(root) {
    for (const section of root.querySelectorAll("main > section[id]")) section.rawHtml = section.innerHTML;
  }

  // What a reader has opened, typed, and has on the screen stays as it is.
  function update(fresh) {
    remember(fresh);
    const open = new Map(foldsIn(document).map(fold => [fold.dataset.key, fold.open]));
    for (const fold of foldsIn(fresh)) if (open.has(fold.dataset.key)) fold.open = open.get(fold.dataset.key);
    const scrolled = tablesIn(document).map(table => table.scrollLeft);
    const form = document.getElementById("filter");
    const typed = form ? Array.from(form.elements).map(field => [field.name, field.value]) : [];
    const focused = document.activeElement.closest("#filter") ? document.activeElement.name : "";
    const anchor = placesIn(document).find(place => place.getBoundingClientRect().bottom > 60);
    const key = anchor && keyOf(anchor), top = anchor && anchor.getBoundingClientRect().top;

    for (const name of ["header", "nav > div"])
      document.querySelector(name).replaceChildren(...fresh.querySelector(name).childNodes);
    replaceSections(document.querySelector("main"), fresh.querySelector("main"));
    document.getElementById("figures-data").textContent = fresh.getElementById("figures-data").textContent;
    document.title = fresh.title;

    const now = document.getElementById("filter");
    for (const [name, value] of typed) if (now && now.elements[name]) now.elements[name].value = value;
    if (now && focused) now.elements[focused].focus({preventScroll: true});
    tablesIn(document).forEach((table, place) => { table.scrollLeft = scrolled[place] || 0; });
    window.reportStart();
    const same = key && scrollY > 0 && placesIn(document).find(place => keyOf(place) === key);
    if (same) scrollBy({top: same.getBoundingClientRect().top - top, behavior: "instant"});
  }

  // Sections that say the same are left alone, with what is selected in them.
  function replaceSections(old, fresh) {
    const known = new Map(Array.from(old.children).map(section => [section.id, section]));
    const sections = Array.from(fresh.children).map(section => {
      const before = section.id ? known.get(section.id) : undefined;
      return before && before.rawHtml === section.rawHtml ? before : section;
    });
    sections.forEach((section, place) => {
      if (old.children[place] !== section) old.insertBefore(section, old.children[place] || null);
    });
    while (old.children.length > sections.length) old.lastElementChild.remove();
  }

  async function look() {
    let is_there = true;
    try {
      const reply = await fetch("/", {headers: {"If-None-Match": '"' + version + '"'}, cache: "no-store"});
      if (reply.status === 200) {
        const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
        version = fresh.documentElement.dataset.version;
        if (version) update(fresh);
      }
    } catch (error) {
      is_there = false;
    }
    const note = document.getElementById("live");
    note.textContent = is_there ? "live" : "the server has ended";
    note.className = "chip " + (is_there ? "done" : "failed");
    setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
  }

  document.documentElement.style.overflowAnchor = "none"; // the place on the screen is kept above
  remember(document);
  setTimeout(look, EVERY_MS);
})();
