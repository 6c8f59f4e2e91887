// clients.mjs COMMAND HTTP_URL WS_URL TOKEN: the official SDK, both generations, over every transport they have.
import {Client} from '@modelcontextprotocol/sdk/client/index.js';
import {StdioClientTransport} from '@modelcontextprotocol/sdk/client/stdio.js';
import {StreamableHTTPClientTransport} from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {WebSocketClientTransport} from '@modelcontextprotocol/sdk/client/websocket.js';
import * as v2 from '@modelcontextprotocol/client';
import * as v2stdio from '@modelcontextprotocol/client/stdio';

const [command, workspace, http, ws, token] = process.argv.slice(2);
const headers = {Authorization: 'Bearer ' + token};
const check = (condition, what) => { if (!condition) throw new Error(what); };

async function talk(name, client, transport) {
  await client.connect(transport);
  const tools = (await client.listTools()).tools;
  check(tools.some(t => t.name === 'file_read'), name + ': no file_read');
  await client.callTool({name: 'file_write', arguments: {path: 'from-client.txt', content: name}});
  const read = await client.callTool({name: 'file_read', arguments: {path: 'from-client.txt'}});
  check(JSON.stringify(read.content).includes(name), name + ': read something else: ' + JSON.stringify(read));
  let refused = false;
  try { await client.callTool({name: 'no_such_tool', arguments: {}}); } catch (e) { refused = e.code === -32602; }
  check(refused, name + ': an unknown tool is not refused');
  await client.close();
  console.log('ok ' + name);
}

const one = () => new Client({name: 'clients', version: '1'});
const args = ['--workspace', workspace];
await talk('v1 stdio', one(), new StdioClientTransport({command, args}));
await talk('v1 http', one(), new StreamableHTTPClientTransport(new URL(http), {requestInit: {headers}}));
// The WebSocket transport of v1 cannot send headers, so this server has no token.
await talk('v1 ws', one(), new WebSocketClientTransport(new URL(ws)));
for (const mode of ['legacy', 'auto']) {
  const two = () => new v2.Client({name: 'clients', version: '1'}, {versionNegotiation: {mode}});
  await talk('v2 stdio ' + mode, two(), new v2stdio.StdioClientTransport({command, args}));
  await talk('v2 http ' + mode, two(), new v2.StreamableHTTPClientTransport(new URL(http), {requestInit: {headers}}));
}
process.exit(0);
