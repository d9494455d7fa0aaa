// node pack.mjs <folder of Pyodide> <folder of archives> <folder to fill>
// The bytecode must be made by the very interpreter that will run it.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , runtime, archives, out] = process.argv;
const { loadPyodide } = await import(pathToFileURL(path.resolve(runtime, "pyodide.mjs")));
const python = await loadPyodide({ args: ["-X", "no_debug_ranges"], env: { HOME: "/home/pyodide" } });
python.FS.mkdirTree("/archives");
for (const name of fs.readdirSync(archives))
  if (/\.(whl|tar)$/.test(name)) python.FS.writeFile(`/archives/${name}`, fs.readFileSync(path.join(archives, name)));
python.FS.writeFile("/library.zip", fs.readFileSync(path.join(runtime, "python_stdlib.zip")));
python.runPython(fs.readFileSync(new URL("pack.py", import.meta.url), "utf8"));
for (const name of ["library.zip", "site.tar"]) fs.writeFileSync(path.join(out, name), python.FS.readFile(`/out/${name}`));
