// Makes the code samples of a call from the OpenAPI document. Pure: no page is needed to run it.

const FILE = "faktur.pdf";
export const FORMS = {
  "application/json": "JSON",
  "application/x-www-form-urlencoded": "Form",
  "multipart/form-data": "Multipart",
};
export const LANGUAGES = ["curl", "JavaScript", "PHP", "Python", "Dart"];

// The schema that a reference leads to.
export function resolve(document, schema) {
  const name = schema?.$ref?.replace("#/components/schemas/", "");
  return name ? document.components.schemas[name] : schema;
}

// Of two dialects on one path, the part that is this one's.
export function variant(operation, tag, schema) {
  const several = schema?.oneOf ?? schema?.anyOf;
  const index = operation.tags.indexOf(tag);
  return operation.tags.length > 1 && several?.length === operation.tags.length ? several[index] : schema;
}

// How the key of a call goes with it: the first way that this dialect takes.
export function keyOf(document, operation, tag) {
  const ways = (operation.security ?? []).flatMap((way) => Object.keys(way));
  const own = document.tags.find((known) => known.name === tag)?.["x-keys"] ?? [];
  const name = ways.find((way) => own.includes(way)) ?? ways[0];
  return document.components.securitySchemes[name] ?? null;
}

export function formsOf(operation) {
  return Object.keys(operation.requestBody?.content ?? {});
}

// What a sample sends: method, url, query, headers, form, fields, file.
export function requestOf(document, path, method, { tag, base, form } = {}) {
  const operation = document.paths[path][method];
  tag ??= operation.tags[0];
  const request = { method: method.toUpperCase(), headers: [], query: [], fields: {}, files: {} };
  let url = path;
  for (const parameter of operation.parameters ?? []) {
    const value = parameter.example ?? parameter.schema?.example;
    if (parameter.in === "path") {
      url = url.replace(`{${parameter.name}}`, encodeURIComponent(value ?? parameter.name));
    } else if (parameter.in === "query" && (parameter.required || value !== undefined)) {
      const values = Array.isArray(value) ? value : [value ?? ""];
      request.query.push(...values.map((one) => [parameter.name, String(one)]));
    }
  }
  request.url = (base ?? "http://kurir.local:8080") + url;
  const key = keyOf(document, operation, tag);
  if (key?.type === "http") request.headers.push(["Authorization", "Bearer YOUR_API_KEY"]);
  else if (key?.in === "header") request.headers.push([key.name, "YOUR_API_KEY"]);
  const forms = formsOf(operation);
  if (forms.length) {
    request.form = forms.includes(form) ? form : forms[0];
    const content = operation.requestBody.content[request.form];
    const example = content.example ?? content.examples?.[tag]?.value ?? Object.values(content.examples ?? {})[0]?.value;
    const schema = resolve(document, variant(operation, tag, content.schema));
    for (const [name, value] of Object.entries(example ?? {})) {
      const file = resolve(document, schema?.properties?.[name])?.contentMediaType === "application/octet-stream";
      if (file && request.form === "multipart/form-data") request.files[name] = FILE;
      else if (!file) request.fields[name] = value;
    }
  }
  const success = Object.entries(operation.responses).find(([status]) => status.startsWith("2"))?.[1];
  request.answer = Object.keys(success?.content ?? {})[0] ?? "application/json";
  return request;
}

// Fields as the pairs of a form; a list's items are numbered.
function pairs(fields) {
  return Object.entries(fields).flatMap(([name, value]) => {
    if (Array.isArray(value)) return value.map((item, index) => [`${name}[${index}]`, plain(item)]);
    return [[name, plain(value)]];
  });
}

function plain(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function indent(text, by) {
  return text.replaceAll("\n", "\n" + " ".repeat(by));
}

// A value as a literal of a language.
function literal(value, words, depth = 0) {
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (value === null || value === undefined) return words.null;
  if (value === true) return words.true;
  if (value === false) return words.false;
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return words.text(value);
  if (Array.isArray(value)) {
    return `[${value.map((item) => literal(item, words, depth + 1)).join(", ")}]`;
  }
  const entries = Object.entries(value);
  if (!entries.length) return words.empty;
  const lines = entries.map(([name, item]) => `${pad}${words.text(name)}${words.is}${literal(item, words, depth + 1)},`);
  return `${words.open}\n${lines.join("\n")}\n${end}${words.close}`;
}

const json = (text) => JSON.stringify(text);
const JS = { null: "null", true: "true", false: "false", text: json, is: ": ", open: "{", close: "}", empty: "{}" };
const PYTHON = { ...JS, null: "None", true: "True", false: "False" };
const PHP = {
  ...JS,
  // Only double quotes know line breaks; a raw one would be indented with the rest.
  text: (text) =>
    /[\n\r]/.test(text)
      ? `"${text.replace(/[\\"$]/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}"`
      : `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`,
  is: " => ",
  open: "[",
  close: "]",
  empty: "new stdClass()",
};
const DART = {
  ...JS,
  text: (text) =>
    `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("$", "\\$").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}'`,
};

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const isJson = (request) => request.form === "application/json";
const isMultipart = (request) => request.form === "multipart/form-data";
const isStream = (request) => request.answer === "text/event-stream";

function withType(request) {
  return isJson(request) ? [...request.headers, ["Content-Type", "application/json"]] : request.headers;
}

function withQuery(request) {
  if (!request.query.length) return request.url;
  return `${request.url}?${new URLSearchParams(request.query)}`;
}

function curl(request) {
  const parts = [`curl ${isStream(request) ? "-N " : ""}-X ${request.method} ${shell(withQuery(request))}`];
  for (const [name, value] of withType(request)) parts.push(`-H ${shell(`${name}: ${value}`)}`);
  if (isJson(request)) parts.push(`-d ${shell(JSON.stringify(request.fields))}`);
  else {
    const how = isMultipart(request) ? "--form-string" : "--data-urlencode";
    for (const [name, value] of pairs(request.fields)) parts.push(`${how} ${shell(`${name}=${value}`)}`);
    for (const [name, file] of Object.entries(request.files)) parts.push(`-F ${shell(`${name}=@${file}`)}`);
  }
  if (request.answer === "*/*") parts.push(`-o ${shell("file")}`);
  return parts.join(" \\\n  ");
}

function javascript(request) {
  const lines = [];
  const options = [];
  if (request.method !== "GET") options.push(`method: ${json(request.method)},`);
  const headers = withType(request);
  if (headers.length) options.push(`headers: ${indent(literal(Object.fromEntries(headers), JS), 2)},`);
  if (isJson(request)) options.push(`body: JSON.stringify(${indent(literal(request.fields, JS), 2)}),`);
  else if (isMultipart(request)) {
    lines.push("const form = new FormData();");
    for (const [name, value] of pairs(request.fields)) lines.push(`form.append(${json(name)}, ${json(value)});`);
    for (const name of Object.keys(request.files)) {
      lines.push(`form.append(${json(name)}, document.querySelector("input[type=file]").files[0]);`);
    }
    options.push("body: form,");
  } else if (request.form) {
    options.push(`body: new URLSearchParams(${indent(literal(Object.fromEntries(pairs(request.fields)), JS), 2)}),`);
  }
  const url = json(withQuery(request));
  lines.push(options.length ? `const response = await fetch(${url}, {\n  ${options.join("\n  ")}\n});` : `const response = await fetch(${url});`);
  if (isStream(request)) {
    lines.push("const text = response.body.pipeThrough(new TextDecoderStream());", "for await (const piece of text) console.log(piece);");
  } else if (request.answer === "application/json") lines.push("console.log(response.status, await response.json());");
  else if (request.answer === "*/*") lines.push("const file = await response.blob();");
  else lines.push("console.log(response.status, await response.text());");
  return lines.join("\n");
}

function php(request) {
  const options = ["CURLOPT_RETURNTRANSFER => true,"];
  if (request.method !== "GET") options.push(`CURLOPT_CUSTOMREQUEST => ${PHP.text(request.method)},`);
  const headers = withType(request).map(([name, value]) => PHP.text(`${name}: ${value}`));
  if (headers.length) options.push(`CURLOPT_HTTPHEADER => [${headers.join(", ")}],`);
  if (isJson(request)) options.push(`CURLOPT_POSTFIELDS => json_encode(${indent(literal(request.fields, PHP), 4)}),`);
  else if (isMultipart(request)) {
    const rows = pairs(request.fields).map(([name, value]) => `${PHP.text(name)} => ${PHP.text(value)},`);
    for (const [name, file] of Object.entries(request.files)) rows.push(`${PHP.text(name)} => new CURLFile(${PHP.text(file)}),`);
    options.push(`CURLOPT_POSTFIELDS => [\n        ${rows.join("\n        ")}\n    ],`);
  } else if (request.form) options.push(`CURLOPT_POSTFIELDS => http_build_query(${indent(literal(request.fields, PHP), 4)}),`);
  const lines = ["<?php", `$curl = curl_init(${PHP.text(withQuery(request))});`];
  if (isStream(request)) {
    options[0] = "CURLOPT_WRITEFUNCTION => function ($curl, $piece) {\n        echo $piece;\n        return strlen($piece);\n    },";
  }
  lines.push(`curl_setopt_array($curl, [\n    ${options.join("\n    ")}\n]);`);
  if (isStream(request)) lines.push("curl_exec($curl);");
  else {
    lines.push("$answer = curl_exec($curl);");
    if (request.answer === "*/*") lines.push("file_put_contents('file', $answer);");
    else lines.push("echo curl_getinfo($curl, CURLINFO_RESPONSE_CODE), ' ', $answer, PHP_EOL;");
  }
  return lines.join("\n");
}

function python(request) {
  const rows = [json(request.url) + ","];
  if (request.query.length) {
    rows.push(`params=[${request.query.map(([name, value]) => `(${json(name)}, ${json(value)})`).join(", ")}],`);
  }
  if (request.headers.length) rows.push(`headers=${indent(literal(Object.fromEntries(request.headers), PYTHON), 4)},`);
  if (isJson(request)) rows.push(`json=${indent(literal(request.fields, PYTHON), 4)},`);
  else if (isMultipart(request)) {
    const files = Object.entries(request.files).map(([name, file]) => `${json(name)}: open(${json(file)}, "rb"),`);
    const fields = pairs(request.fields);
    // `requests` sends multipart only where there are files; a text is a file without a name.
    const texts = fields.map(([name, value]) => `${json(name)}: (None, ${json(value)}),`);
    rows.push(`files={\n        ${[...texts, ...files].join("\n        ")}\n    },`);
  } else if (request.form) rows.push(`data=${indent(literal(Object.fromEntries(pairs(request.fields)), PYTHON), 4)},`);
  rows.push(isStream(request) ? "stream=True," : "timeout=60,");
  const lines = ["import requests", "", `response = requests.${request.method.toLowerCase()}(\n    ${rows.join("\n    ")}\n)`];
  if (isStream(request)) lines.push("for line in response.iter_lines():", "    print(line.decode())");
  else if (request.answer === "application/json") lines.push("print(response.status_code, response.json())");
  else if (request.answer === "*/*") lines.push('open("file", "wb").write(response.content)');
  else lines.push("print(response.status_code, response.text)");
  return lines.join("\n");
}

function dart(request) {
  const imports = ["import 'package:http/http.dart' as http;"];
  const uri = `Uri.parse(${DART.text(withQuery(request))})`;
  const headers = withType(request);
  const all = headers.length ? indent(literal(Object.fromEntries(headers), DART), 4) : null;
  const lines = [];
  if (isJson(request) || isStream(request)) imports.unshift("import 'dart:convert';");
  if (request.answer === "*/*") imports.unshift("import 'dart:io';");
  if (isStream(request) || isMultipart(request)) {
    const kind = isMultipart(request) ? "MultipartRequest" : "Request";
    lines.push(`final request = http.${kind}(${DART.text(request.method)}, ${uri});`);
    for (const [name, value] of headers) lines.push(`request.headers[${DART.text(name)}] = ${DART.text(value)};`);
    for (const [name, value] of isMultipart(request) ? pairs(request.fields) : []) {
      lines.push(`request.fields[${DART.text(name)}] = ${DART.text(value)};`);
    }
    for (const [name, file] of Object.entries(request.files)) {
      lines.push(`request.files.add(await http.MultipartFile.fromPath(${DART.text(name)}, ${DART.text(file)}));`);
    }
    if (isStream(request)) {
      lines.push("final response = await request.send();", "final lines = response.stream.transform(utf8.decoder).transform(const LineSplitter());");
      lines.push("await for (final line in lines) {", "  print(line);", "}");
    } else lines.push("final response = await http.Response.fromStream(await request.send());");
  } else {
    const rows = [uri + ","];
    if (all) rows.push(`headers: ${all},`);
    if (isJson(request)) rows.push(`body: jsonEncode(${indent(literal(request.fields, DART), 4)}),`);
    else if (request.form) rows.push(`body: ${indent(literal(Object.fromEntries(pairs(request.fields)), DART), 4)},`);
    lines.push(`final response = await http.${request.method.toLowerCase()}(\n    ${rows.join("\n    ")}\n  );`);
  }
  if (request.answer === "*/*") lines.push("await File('file').writeAsBytes(response.bodyBytes);");
  else if (!isStream(request)) lines.push("print('${response.statusCode} ${response.body}');");
  return `${imports.join("\n")}\n\nFuture<void> main() async {\n  ${lines.join("\n  ")}\n}`;
}

const MAKERS = { curl, JavaScript: javascript, PHP: php, Python: python, Dart: dart };

// The samples of a call, by language. `tag`: in which dialect; `form`: of which body; `base`: of which box.
export function samples(document, path, method, options) {
  const request = requestOf(document, path, method, options);
  return Object.fromEntries(LANGUAGES.map((language) => [language, MAKERS[language](request)]));
}
