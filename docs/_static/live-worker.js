/* Python in a worker: the page stays alive, and stopping is ending this worker. */
const ENGINE = new URL("../../engine/", import.meta.url);
const say = (message) => postMessage(message);
const reason = (error) => String(error?.message ?? error).slice(-400);

const asked = async (url, options) => {
  const answer = await fetch(url, options);
  if (!answer.ok) throw new Error(`${new URL(url).pathname}: ${answer.status}`);
  return answer;
};

/* The files are already compressed: the size is the same on every host, and so is the type. */
const load = async () => {
  const manifest = await (await asked(new URL("manifest.json", ENGINE), { cache: "no-cache" })).json();
  const folder = new URL(`${manifest.version}/`, ENGINE);
  let received = 0;
  const get = async (name, type) => {
    const answer = await asked(new URL(name, folder));
    const count = new TransformStream({
      transform(chunk, stream) {
        received += chunk.byteLength;
        say({ received, total: manifest.total });
        stream.enqueue(chunk);
      },
    });
    const body = answer.body.pipeThrough(count).pipeThrough(new DecompressionStream("gzip"));
    return new Response(body, { headers: { "content-type": type } });
  };
  const binary = "application/octet-stream";
  // Their headers are awaited here, so that a missing file is told: Pyodide would wait for ever.
  const [wasm, library, site, project] = await Promise.all([
    get("python.bin", "application/wasm"),
    get("library.bin", binary),
    get("site.bin", binary),
    get(`../${manifest.project}`, binary),
  ]);
  const held = { "pyodide.asm.wasm": wasm, "library.zip": library };
  const { loadPyodide } = await import(new URL("pyodide.js", folder));
  const network = self.fetch;
  self.fetch = (url, options) => held[String(url?.url ?? url).split("/").pop()] ?? network(url, options);
  const python = await loadPyodide({
    indexURL: folder.href,
    packageBaseUrl: folder.href,
    stdLibURL: new URL("library.zip", folder).href,
    lockFileContents: manifest.lock,
    env: { HOME: "/home/pyodide" },
  });
  self.fetch = network;
  say({ starting: true });
  for (const archive of [site, project]) python.unpackArchive(await archive.arrayBuffer(), "tar", { extractDir: "/site" });
  python.runPython("import os, sys; sys.path.insert(0, '/site'); os.chdir('/site')");
  python.pyimport("alone").start();
  return python.pyimport("in_page").run_page;
};

const ready = load();
ready.then(() => say({ ready: true }), (error) => say({ broken: reason(error) }));
onmessage = async ({ data }) => {
  const runPage = await ready;
  try {
    runPage(JSON.stringify(data), (told) => say({ told: JSON.parse(told) }));
    say({ over: true });
  } catch (error) {
    say({ broken: reason(error) });
  }
};
