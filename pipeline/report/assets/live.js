// Follows the run: asks the server for news, and puts what has changed into the page where it stands.
"use strict";
(function () {
  const EVERY_MS = 2000;
  let version = null;

  const keyOf = fold => fold.dataset.key;
  const folds = root => Array.from(root.querySelectorAll("details[data-key]"));

  // What a reader has opened or closed, and the filter's text, stay as they are; so does what is on the screen.
  function replace(fresh) {
    const open = new Map(folds(document).map(fold => [keyOf(fold), fold.open]));
    const scrolled = new Map(Array.from(document.querySelectorAll(".scroll")).map((one, i) => [i, one.scrollLeft]));
    const form = document.getElementById("filter");
    const filter = form ? Object.fromEntries(new FormData(form)) : {};
    const focused = document.activeElement && document.activeElement.closest("#filter") ? document.activeElement.name : "";
    const anchor = Array.from(document.querySelectorAll("main > section, main > section h3, main details, figure"))
      .find(one => one.getBoundingClientRect().bottom > 60);
    const key = anchor && (anchor.id || (anchor.dataset && anchor.dataset.key) || anchor.textContent.trim().slice(0, 60));
    const top = anchor ? anchor.getBoundingClientRect().top : 0;

    for (const fold of folds(fresh)) if (open.has(keyOf(fold))) fold.open = open.get(keyOf(fold));
    for (const name of ["header", "nav", "main"]) swap(document.querySelector(name), fresh.querySelector(name));
    document.getElementById("figures-data").textContent = fresh.getElementById("figures-data").textContent;
    document.title = fresh.title;

    const now = document.getElementById("filter");
    for (const [name, value] of Object.entries(filter)) if (now && now.elements[name]) now.elements[name].value = value;
    if (now && focused) now.elements[focused].focus({preventScroll: true});
    document.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = scrolled.get(i) || 0; });
    window.reportStart();
    if (!anchor || scrollY === 0) return;
    const same = anchor.isConnected ? anchor : Array.from(document.querySelectorAll(anchor.localName))
      .find(one => (one.id || (one.dataset && one.dataset.key) || one.textContent.trim().slice(0, 60)) === key);
    if (same) scrollBy({top: same.getBoundingClientRect().top - top, behavior: "instant"});
  }

  // Sections that say the same are left alone, with their selections.
  function swap(old, fresh) {
    if (old.localName !== "main") { if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes); return; }
    const known = new Map(Array.from(old.children).filter(one => one.id).map(one => [one.id, one]));
    const children = Array.from(fresh.children).map(one => {
      const before = known.get(one.id);
      return before && before.dataset.raw === one.innerHTML ? before : marked(one);
    });
    children.forEach((one, i) => { if (old.children[i] !== one) old.insertBefore(one, old.children[i] || null); });
    while (old.children.length > children.length) old.lastElementChild.remove();
  }
  function marked(section) {
    if (section.id && section.id !== "samples") section.dataset.raw = section.innerHTML;
    return section;
  }

  async function look() {
    const written = () => document.getElementById("written");
    try {
      const reply = await fetch("/page", {headers: version ? {"If-None-Match": version} : {}, cache: "no-store"});
      if (reply.status === 200) {
        const text = await reply.text();
        const is_first = version === null;
        version = reply.headers.get("ETag");
        if (!is_first || version !== document.documentElement.dataset.version)
          replace(new DOMParser().parseFromString(text, "text/html"));
      }
      written().classList.remove("stale");
    } catch (error) {
      written().classList.add("stale");
      written().title = "the server has ended";
    }
    setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
  }
  setTimeout(look, EVERY_MS);
})();
