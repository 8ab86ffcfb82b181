// Commands come in as lines of JSON on stdin and are answered on stdout; everything a library says goes to stderr.

import { createInterface } from "node:readline";
import { Service } from "./delta-api.mjs";

export const complaints = [];
for (const level of ["log", "info", "debug", "warn", "error"]) {
  console[level] = (...messages) => {
    const text = messages.map(String).join(" ");
    process.stderr.write(`${level}: ${text}\n`);
    if (level === "warn" || level === "error") complaints.push(text);
  };
}

let token = process.env.TOKEN;
export const service = new Service({ url: process.env.URL, route: process.env.ROUTE, token: () => token });
export const OBJECTS = ["account", "contact", "order"];

export async function serve(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, argument } = JSON.parse(line);
    let answer;
    try {
      if (command === "token") token = argument;
      else answer = await commands[command](argument);
    } catch (error) {
      complaints.push(error.stack);
    }
    process.stdout.write(JSON.stringify({ answer, complaints: complaints.splice(0) }) + "\n");
  }
  process.exit(0);
}
