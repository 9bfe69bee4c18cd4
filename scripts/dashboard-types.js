// Writes the schemas of docs/openapi.json as TypeScript declarations, in the namespace Api, to stdout. So scripts/check-dashboard
// finds a page that reads a member which the API does not answer.
"use strict";

const { schemas } = JSON.parse(require("node:fs").readFileSync("docs/openapi.json", "utf8")).components;

/** A schema of the document as a type. */
function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const union = schema.oneOf ?? schema.anyOf;
  if (union) return union.map(typeOf).join(" | ");
  if (schema.allOf) return schema.allOf.map(typeOf).join(" & ");
  return [schema.type ?? "any"].flat().map((name) => named(name, schema)).join(" | ");
}

function named(name, schema) {
  if (name === "array") return `(${typeOf(schema.items ?? {})})[]`;
  if (name === "integer" || name === "number") return "number";
  if (name !== "object") return name;
  const of = typeof schema.additionalProperties === "object" ? typeOf(schema.additionalProperties) : "any";
  if (!schema.properties) return `{[name: string]: ${of}}`;
  const required = new Set(schema.required);
  const members = Object.entries(schema.properties).map(([member, its]) =>
    `${JSON.stringify(member)}${required.has(member) ? "" : "?"}: ${typeOf(its)}`);
  return `{ ${members.join("; ")} }`;
}

console.log("declare namespace Api {");
for (const [name, schema] of Object.entries(schemas)) console.log(`  type ${name} = ${typeOf(schema)};`);
console.log("}");
