// Whether the code samples of /docs are right: makes every one of them, lets each language's own tool check its syntax
// where that is installed, and looks at what the samples would send.
//
//     curl -so openapi.json http://127.0.0.1:8080/openapi.json && node tests/openapi/samples.mjs openapi.json
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LANGUAGES, formsOf, requestOf, samples } from "../../src/api/docs/samples.js";

const api = JSON.parse(readFileSync(process.argv[2], "utf8"));
const folder = mkdtempSync(join(tmpdir(), "samples-"));
const tools = {
  curl: { file: "sh", check: (path) => ["sh", "-n", path] },
  JavaScript: { file: "mjs", check: (path) => ["node", "--check", path] },
  PHP: { file: "php", check: (path) => ["php", "-l", path] },
  Python: { file: "py", check: (path) => ["python3", "-m", "py_compile", path] },
  Dart: { file: "dart", check: (path) => ["dart", "format", "--output=none", path] },
};
const missing = new Set();
const seen = new Map();
let count = 0;

function check(language, text, what) {
  count += 1;
  // The same text twice is not worth a second process.
  if (seen.has(text)) return;
  seen.set(text, what);
  const tool = tools[language];
  const path = join(folder, `sample${seen.size}.${tool.file}`);
  writeFileSync(path, text);
  const [program, ...words] = tool.check(path);
  if (missing.has(program)) return;
  const run = spawnSync(program, words, { encoding: "utf8" });
  if (run.error?.code === "ENOENT") missing.add(program);
  else assert.equal(run.status, 0, `${what}\n${text}\n${run.stdout}${run.stderr}`);
}

for (const [path, item] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(item)) {
    for (const tag of operation.tags) {
      for (const form of formsOf(operation).length ? formsOf(operation) : [undefined]) {
        const what = `${method} ${path} (${tag}, ${form})`;
        const request = requestOf(api, path, method, { tag, form });
        assert.ok(!request.url.includes("{"), `${what}: ${request.url}`);
        const keyed = operation.security.some((way) => Object.keys(way).length);
        const shown = JSON.stringify(request);
        if (keyed) assert.ok(/YOUR_API_KEY/.test(shown), `${what} shows no key: ${shown}`);
        for (const parameter of operation.parameters ?? []) {
          if (!parameter.required || parameter.in !== "query") continue;
          assert.ok(request.query.some(([name]) => name === parameter.name), `${what}: ${parameter.name} is missing`);
        }
        const made = samples(api, path, method, { tag, form });
        assert.deepEqual(Object.keys(made), LANGUAGES);
        for (const [language, text] of Object.entries(made)) {
          assert.ok(text.includes("http://kurir.local:8080/"), `${what} ${language}`);
          assert.ok(!/undefined|\[object/.test(text), `${what} ${language}:\n${text}`);
          check(language, text, `${what} ${language}`);
        }
      }
    }
  }
}

// Texts that would end a literal, or begin something else, stay texts.
const nasty = "'\"`$x ${y} \\ \n </script> é 😀 #{z} %s";
const copy = structuredClone(api);
const body = copy.paths["/send-message"].post.requestBody.content;
for (const form of Object.keys(body)) {
  body[form].example = { ...body[form].example, message: nasty, list: [nasty, "b"], deep: { [nasty]: [null, true, 1.5] } };
  for (const [language, text] of Object.entries(samples(copy, "/send-message", "post", { form }))) {
    check(language, text, `nasty ${form} ${language}`);
    if (language === "PHP" && !missing.has("php") && form === "application/json") {
      const literal = text.match(/json_encode\(([\s\S]*)\),\n\]\);/)[1];
      const run = spawnSync("php", ["-r", `echo json_encode(${literal});`], { encoding: "utf8" });
      assert.equal(JSON.parse(run.stdout).message, nasty, run.stderr);
    }
    if (language === "Python" && !missing.has("python3") && form === "application/json") {
      const literal = text.match(/json=([\s\S]*),\n    timeout/)[1];
      const run = spawnSync("python3", ["-c", `import json\nprint(json.dumps(${literal}))`], { encoding: "utf8" });
      assert.equal(JSON.parse(run.stdout).message, nasty, run.stderr);
    }
    if (language === "curl" && form === "application/json") {
      const run = spawnSync("sh", ["-c", text.replace(/^curl /, "printf '%s\\n' ")], { encoding: "utf8" });
      assert.ok(run.stdout.includes(JSON.stringify(nasty).slice(1, -1)), run.stdout);
    }
  }
}

rmSync(folder, { recursive: true });
console.log(`${count} samples are right${missing.size ? `; not checked, because it is not installed: ${[...missing].join(", ")}` : ""}`);
