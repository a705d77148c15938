// A readable list of the routes and schemas in /openapi.json. Nothing is loaded from another host.

import { call } from "/static/api.js";

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function typeOf(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `[${typeOf(schema.items)}]`;
  if (schema.type === "object" && schema.additionalProperties) return `{name: ${typeOf(schema.additionalProperties)}}`;
  const bounds = [["minimum", "\u2265"], ["maximum", "\u2264"], ["minLength", "length \u2265"], ["maxLength", "length \u2264"]]
    .filter(([key]) => schema[key] !== undefined).map(([key, sign]) => `${sign} ${schema[key]}`);
  return [schema.type ?? "any", ...bounds].join(" ");
}

const content = (part) => Object.values(part?.content ?? {})[0]?.schema;

function fieldList(fields) {
  const lines = fields.map(({ name, required, schema, description }) => {
    const note = description ?? schema.description;
    return `${name}${required ? "" : "?"}: ${typeOf(schema)}${note ? `   // ${note}` : ""}`;
  });
  return element("pre", lines.join("\n"));
}

function routeEntry(path, method, operation) {
  const entry = element("details");
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), "method"), element("code", path), ` ${operation.description ?? ""}`);
  entry.append(summary);
  if (operation.parameters) entry.append(fieldList(operation.parameters));
  const lines = [];
  if (operation.requestBody) lines.push(`body: ${typeOf(content(operation.requestBody))}`);
  for (const [status, answer] of Object.entries(operation.responses)) {
    const schema = content(answer);
    const type = schema?.title === "Problem" ? "Problem" : schema ? typeOf(schema) : "nothing";
    lines.push(`${status}: ${type}`);
  }
  entry.append(element("pre", lines.join("\n")));
  return entry;
}

function schemaEntry(name, schema) {
  const entry = element("details");
  entry.id = name;
  entry.append(element("summary", name), element("p", schema.description ?? "", "muted"));
  const required = new Set(schema.required);
  const fields = Object.entries(schema.properties ?? {});
  entry.append(fieldList(fields.map(([field, value]) => ({ name: field, required: required.has(field), schema: value }))));
  return entry;
}

function panel(heading, entries) {
  const section = element("section", "", "panel");
  section.append(element("h2", heading), ...entries);
  return section;
}

async function show() {
  const api = await call("/openapi.json");
  const routes = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => routeEntry(path, method, operation)));
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) => schemaEntry(name, schema));
  document.getElementById("docs").replaceChildren(panel("Routes", routes), panel("Schemas", schemas));
}

show().catch((error) => document.getElementById("docs").replaceChildren(element("p", error.message)));
