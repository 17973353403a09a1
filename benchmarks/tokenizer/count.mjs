// A JSON array of texts on standard input; on standard output how many tokens each is in the encoding o200k_base.
import { encode } from "gpt-tokenizer/encoding/o200k_base";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const texts = JSON.parse(Buffer.concat(chunks).toString("utf8"));
console.log(JSON.stringify(texts.map((text) => encode(text).length)));
