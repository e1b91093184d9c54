// Leads the requests of a Node program through the proxy of its environment: fetch, http, https, http2, ws, undici.
'use strict';
const http = require('http');
const net = require('net');
const tls = require('tls');

const tlsConnect = tls.connect;
const proxy = URL.canParse(process.env.https_proxy ?? '') ? new URL(process.env.https_proxy) : undefined;
const UNDICI = 64 * 1024; // the mark of its connections without TLS: it tells net nothing of http

// A socket that is connected as soon as the proxy has let it through. TLS takes its place, so its own parts are used.
class Tunnel extends net.Socket {
  constructor(options) {
    super(options);
    this.target = `${net.isIPv6(options.host) ? `[${options.host}]` : options.host}:${options.port}`;
    this.answer = Buffer.alloc(0);
    this.through = false;
    // A socket that has begun to connect would give TLS its handle, and the proxy's answer with it.
    process.nextTick(() => this.destroyed || this.connect({ host: proxy.hostname, port: Number(proxy.port) || 80 }));
  }

  emit(event, ...given) {
    if (this.through || (event !== 'connect' && event !== 'ready')) return super.emit(event, ...given);
    if (event === 'connect') {
      const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
      const header = proxy.username ? `Proxy-Authorization: Basic ${Buffer.from(login).toString('base64')}\r\n` : '';
      super._write(`CONNECT ${this.target} HTTP/1.1\r\nHost: ${this.target}\r\n${header}\r\n`, 'latin1', () => {});
      super._read(); // who reads already waits for the event that is held back here
    }
    return true;
  }

  push(chunk, encoding) {
    if (this.through || chunk === null) return super.push(chunk, encoding);
    this.answer = Buffer.concat([this.answer, chunk]);
    const end = this.answer.indexOf('\r\n\r\n');
    if (end < 0) return true;
    const line = this.answer.toString('latin1', 0, this.answer.indexOf('\r\n'));
    if (!/^HTTP\/1\.\d 2/.test(line)) {
      this.destroy(new Error(`the proxy answered CONNECT ${this.target} with ${line}`));
      return false;
    }
    this.through = true;
    this.emit('connect');
    this.emit('ready');
    const rest = this.answer.subarray(end + 4);
    return rest.length === 0 || super.push(rest);
  }

  _write(chunk, encoding, done) {
    if (this.through) super._write(chunk, encoding, done);
    else this.once('connect', () => super._write(chunk, encoding, done));
  }

  _writev(chunks, done) {
    if (this.through) super._writev(chunks, done);
    else this.once('connect', () => super._writev(chunks, done));
  }
}

function tunnel(options) {
  const { host = options.hostname ?? 'localhost', port } = options;
  const known = port && !options.socketPath && !(host === proxy.hostname && String(port) === proxy.port);
  return known ? new Tunnel({ ...options, host, port }) : undefined;
}

function wrapped(connect, isHttp) {
  return function (...given) {
    const named = given.find((one) => one !== null && typeof one === 'object') ?? {};
    const [port, host] = given[0] === named ? [named.port, named.host] : given; // http2 gives them apart
    const options = { ...named, port, host };
    const own = isHttp(options) ? tunnel(options) : undefined;
    if (own === undefined) return connect.apply(this, given);
    const listener = given.find((one) => typeof one === 'function');
    if (connect === tlsConnect) return connect.call(this, { ...options, socket: own }, listener);
    if (listener) own.once('connect', listener);
    return own;
  };
}

// A Node that goes through the proxy itself connects to it, or gives TLS the socket: both are left alone.
if (proxy?.protocol === 'http:') {
  tls.connect = wrapped(tlsConnect, (one) => !one.socket && (one._defaultAgent || one.ALPNProtocols || one.headers));
  net.connect = wrapped(net.connect, (one) => !one.path && (one.highWaterMark === UNDICI || one.headers));
  http.Agent.prototype.createConnection = wrapped(http.Agent.prototype.createConnection, () => true);
}
