/* A Run button under each block that can run. What runs it comes with the first press. */
(() => {
  "use strict";
  const { src, dataset } = document.currentScript;
  const french = document.documentElement.lang === "fr";
  const size = french ? dataset.size.replace(".", ",") : dataset.size;
  for (const block of document.querySelectorAll("div.live")) {
    const bar = document.createElement("div");
    const run = document.createElement("button");
    const note = document.createElement("span");
    bar.className = "live-bar";
    run.type = "button";
    run.textContent = french ? "Exécuter" : "Run";
    note.className = "live-size";
    note.textContent = french ? `la première fois, ${size}\u00a0Mo à télécharger` : `the first time, a ${size}\u00a0MB download`;
    run.addEventListener("click", async () => {
      try {
        await (await import(new URL("live-page.js", src))).start(dataset.page);
        bar.querySelector("button").click(); // the same button, now with its neighbors
      } catch {
        note.textContent = french ? "Le moteur n’a pas pu être chargé. Réessayez." : "The engine could not be loaded. Try again.";
      }
    });
    bar.append(run, note);
    block.append(bar);
  }
})();
