#!/usr/bin/env python3
"""Record or replay a ZooKeeper client-protocol transcript over raw sockets.

  record:   record_client_transcript.py HOST:PORT --record FILE --flavour NAME
  replay:   record_client_transcript.py HOST:PORT --replay FILE [options]
  add alts: record_client_transcript.py HOST:PORT --replay FILE --add-alt NAME

The server must be FRESH (empty data directory), standalone, reachable over IPv4 loopback and
configured as the "server_config" object of the first line of FILE says.

FILE is JSON lines. Line 1 is {"meta": ...}; every other line is one step:
  step, desc      number and description
  kind            connect | call | raw | drop
  conn            name of the connection the step acts on (opened by connect and raw steps)
  send            hex of all bytes sent, frame length prefix included (drop: absent)
  send_subst      byte ranges of `send` to overwrite before sending:
                  {off,len,what: session_id|passwd|zxid, rec: value in the recording}
  await_xid       xid of the reply to wait for (absent: any single frame, or none)
  schema          decoder for the reply body (see SCHEMAS)
  write           true when a successful reply's header zxid is the zxid of a new transaction
  expect          {conn: [frame...]} seen with the server version meta.base_flavour;
                  frame = {hex (length prefix included), schema, vary}
                  vary = [{off,len,kind,name}]: byte ranges that differ from run to run
  closed          connections the server must have closed by the end of the step
  alts            [{flavour, expect, closed}] further accepted outcomes
Kinds of varying ranges:
  zxid        zxid of a successful transaction: same recorded value <-> same actual value,
              order preserved (0 and -1 are literal and never listed)
  zxid_read   header zxid of a read or of a failed request: never decreases on a connection
  event_zxid  header zxid of a notification: -1 (server < 3.9) or the zxid that fired it
  time        wall-clock ms; equal for equal zxid (ctime/czxid, mtime/mzxid)
  session_id, passwd   same recorded value <-> same actual value
  unordered   vector whose element order is unspecified (compare as a multiset)
Replay prints PASS/FAIL per step with the first differing field; exit status 1 on any FAIL.
"""
import argparse, json, socket, struct, sys, time

# ------------------------------------------------------------------ encoding
def i32(v): return struct.pack('>i', v)
def i64(v): return struct.pack('>q', v)
def bl(v): return struct.pack('>B', int(v))
def buf(v):
    if v is None: return i32(-1)
    if isinstance(v, str): v = v.encode('utf-8')
    return i32(len(v)) + v
def vec(items, f): return i32(-1) if items is None else i32(len(items)) + b''.join(map(f, items))
def strs(items): return vec(items, buf)
def acl(items): return vec(items, lambda a: i32(a[0]) + buf(a[1]) + buf(a[2]))
def frame(p): return i32(len(p)) + p
OPEN = [(31, 'world', 'anyone')]
AUTH = [(31, 'auth', '')]
OP = dict(notification=0, create=1, delete=2, exists=3, getData=4, setData=5, getACL=6, setACL=7,
          getChildren=8, sync=9, ping=11, getChildren2=12, check=13, multi=14, create2=15,
          reconfig=16, checkWatches=17, removeWatches=18, createContainer=19, deleteContainer=20,
          createTTL=21, multiRead=22, auth=100, setWatches=101, sasl=102, getEphemerals=103,
          getAllChildrenNumber=104, setWatches2=105, addWatch=106, whoAmI=107,
          createSession=-10, closeSession=-11, error=-1)
WRITES = {'create', 'create2', 'createContainer', 'createTTL', 'delete', 'deleteContainer',
          'setData', 'setACL', 'multi', 'reconfig', 'closeSession'}
REPLY = dict(create='Path', create2='PathStat', createContainer='PathStat', createTTL='PathStat',
             exists='Stat', getData='DataStat', setData='Stat', getACL='AclStat', setACL='Stat',
             getChildren='Children', getChildren2='ChildrenStat', sync='Path', multi='Multi',
             multiRead='Multi', sasl='Token', getEphemerals='Children', getAllChildrenNumber='Int',
             addWatch='Int', whoAmI='ClientInfos', reconfig='DataStat')

def c_create(path, data=b'', a=OPEN, flags=0): return buf(path) + buf(data) + acl(a) + i32(flags)
def c_ttl(path, flags, ttl, data=b'', a=OPEN): return c_create(path, data, a, flags) + i64(ttl)
def c_pv(path, version=-1): return buf(path) + i32(version)
def c_set(path, data, version=-1): return buf(path) + buf(data) + i32(version)
def c_acl(path, a, version=-1): return buf(path) + acl(a) + i32(version)
def c_pw(path, watch=False): return buf(path) + bl(watch)
def mh(t, done, err): return i32(t) + bl(done) + i32(err)
def c_multi(*ops): return b''.join(mh(OP[o], 0, -1) + b for o, b in ops) + mh(-1, 1, -1)
def c_auth(scheme, data): return i32(0) + buf(scheme) + buf(data)
def c_connect(pv=0, zxid=0, timeout=40000, sid=0, pw=b'\0' * 16, ro=0, extra=b''):
    return i32(pv) + i64(zxid) + i32(timeout) + i64(sid) + buf(pw) + (b'' if ro is None else bl(ro)) + extra

# ------------------------------------------------------------------ decoding
class Short(Exception): pass
class Rd:
    """Walks a frame and lists its fields as [name, off, len, kind, value]."""
    def __init__(self, b): self.b, self.o, self.f = b, 0, []
    def take(self, n, name):
        if self.o + n > len(self.b): raise Short('frame ends inside field ' + name)
        v = self.b[self.o:self.o + n]; self.o += n; return v
    def add(self, name, n, kind, val): self.f.append([name, self.o - n, n, kind, val]); return val
    def i(self, name, kind='lit'): return self.add(name, 4, kind, struct.unpack('>i', self.take(4, name))[0])
    def l(self, name, kind='lit'):
        v = struct.unpack('>q', self.take(8, name))[0]
        if kind in ('zxid', 'zxid_read', 'time', 'session_id') and v in (0, -1): kind = 'lit'
        return self.add(name, 8, kind, v)
    def bo(self, name): return self.add(name, 1, 'lit', self.take(1, name)[0])
    def bs(self, name, kind='lit'):
        n = self.i(name + '.len')
        if n < 0: return None
        v = self.take(n, name)
        if kind == 'passwd' and not any(v): kind = 'lit'
        return self.add(name, n, kind, v.hex() if kind == 'passwd' else repr(v))
    def stat(self, p='stat.'):
        for n, k in (('czxid', 'zxid'), ('mzxid', 'zxid'), ('ctime', 'time'), ('mtime', 'time')): self.l(p + n, k)
        for n in ('version', 'cversion', 'aversion'): self.i(p + n)
        self.l(p + 'ephemeralOwner', 'session_id'); self.i(p + 'dataLength'); self.i(p + 'numChildren')
        self.l(p + 'pzxid', 'zxid')
    def unordered(self, name, one):
        start, sub = self.o, Rd(self.b); sub.o = self.o
        n, items = sub.i(name), []
        for _ in range(max(n, 0)):
            s = sub.o; one(sub); items.append(self.b[s:sub.o].hex())
        self.o = sub.o
        self.f.append([name, start, self.o - start, 'unordered' if n > 1 else 'lit', [n] + sorted(items)])
    def body(self, schema):
        if schema == 'Path': self.bs('path')
        elif schema == 'PathStat': self.bs('path'); self.stat()
        elif schema == 'Stat': self.stat()
        elif schema == 'DataStat': self.bs('data'); self.stat()
        elif schema == 'AclStat':
            for k in range(max(self.i('acl.count'), 0)):
                self.i('acl[%d].perms' % k); self.bs('acl[%d].scheme' % k); self.bs('acl[%d].id' % k)
            self.stat()
        elif schema == 'Children': self.unordered('children', lambda r: r.bs('x'))
        elif schema == 'ChildrenStat': self.unordered('children', lambda r: r.bs('x')); self.stat()
        elif schema == 'ClientInfos': self.unordered('clientInfo', lambda r: (r.bs('s'), r.bs('u')))
        elif schema == 'Int': self.i('value')
        elif schema == 'Token': self.bs('token')
        elif schema == 'Multi':
            k = 0
            while True:
                p = 'result[%d].' % k
                t = self.i(p + 'type'); d = self.bo(p + 'done'); self.i(p + 'err')
                if d: break
                if t == 1: self.bs(p + 'path')
                elif t == 15: self.bs(p + 'path'); self.stat(p + 'stat.')
                elif t == 5: self.stat(p + 'stat.')
                elif t == 4: self.bs(p + 'data'); self.stat(p + 'stat.')
                elif t == 8: self.unordered(p + 'children', lambda r: r.bs('x'))
                elif t == -1: self.i(p + 'error')
                k += 1

def decode(b, schema, write):
    """b: one frame with its length prefix. Returns the field list; raises Short."""
    r = Rd(b)
    try:
        r.i('frame.length')
        if schema == 'Raw':
            r.o, r.f = len(b), [['bytes', 0, len(b), 'lit', b.hex()]]
            return r.f
        if schema == 'Connect':
            r.i('protocolVersion'); r.i('timeOut'); r.l('sessionId', 'session_id'); r.bs('passwd', 'passwd')
            if r.o < len(b): r.bo('readOnly')
        else:
            xid = r.i('hdr.xid')
            if xid == -1:
                r.f.append(['hdr.zxid', r.o, 8, 'event_zxid', struct.unpack('>q', r.take(8, 'hdr.zxid'))[0]])
                r.i('hdr.err'); r.i('event.type'); r.i('event.state'); r.bs('event.path')
            else:
                zo = r.o
                z = struct.unpack('>q', r.take(8, 'hdr.zxid'))[0]
                err = struct.unpack('>i', b[r.o:r.o + 4])[0] if r.o + 4 <= len(b) else 0
                k = 'lit' if z in (0, -1) else 'zxid' if write and err == 0 else 'zxid_read'
                r.f.append(['hdr.zxid', zo, 8, k, z])
                r.i('hdr.err')
                if err != 0: r.o = len(b)          # a body after an error is never looked at
                elif schema and xid != -2: r.body(schema)
        if r.o != len(b): r.f.append(['trailing', r.o, len(b) - r.o, 'lit', b[r.o:].hex()])
    except Short as e:
        r.f.append(['<short>', r.o, 0, 'lit', str(e)])
    return r.f

def pack_frame(b, schema, write):
    fs = decode(b, schema, write)
    return dict(hex=b.hex(), schema=schema, vary=[dict(off=o, len=n, kind=k, name=nm) for nm, o, n, k, _ in fs if k != 'lit'])

# ------------------------------------------------------------------ connection
class Conn:
    def __init__(self, addr):
        self.s = socket.create_connection(addr, 10); self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.b, self.eof, self.top = b'', False, 0
    def send(self, d):
        try: self.s.sendall(d)
        except OSError: pass
    def fill(self, t):
        if self.eof: return False
        self.s.settimeout(max(t, 0.001))
        try: d = self.s.recv(1 << 20)
        except socket.timeout: return False
        except OSError: d = b''
        if not d: self.eof = True; return False
        self.b += d; return True
    def get(self, t, rawmode=False):
        """One frame (length prefix included), or None on timeout or end of stream."""
        end = time.time() + t
        while True:
            if rawmode:
                if self.eof and self.b: d, self.b = self.b, b''; return d
            elif len(self.b) >= 4:
                n = struct.unpack('>i', self.b[:4])[0]
                if 0 <= n <= len(self.b) - 4: d, self.b = self.b[:4 + n], self.b[4 + n:]; return d
            if not self.fill(end - time.time()) and (self.eof and not (rawmode and self.b) or time.time() >= end): return None
    def drop(self):
        try: self.s.close()
        except OSError: pass

def frame_xid(f): return struct.unpack('>i', f[4:8])[0] if len(f) >= 8 else None

def gather(conns, step, want, quiet):
    """Runs the receive half of a step. want: {conn: frames worth waiting for} or None (recording).
    Returns ({conn: [frames]}, [closed])."""
    got, name = {}, step['conn']
    c, rawmode = conns.get(name), step.get('schema') == 'Raw'
    if c is not None:
        fs = got[name] = []
        end = time.time() + step.get('wait', 5)
        need = step.get('frames', 1)
        while time.time() < end:
            f = c.get(end - time.time(), rawmode)
            if f is None: break
            fs.append(f)
            if rawmode: break
            if 'await_xid' in step:
                if frame_xid(f) == step['await_xid']: break
            elif len(fs) >= need: break
        if step.get('closes'):
            end = time.time() + 3
            while not c.eof and time.time() < end:
                f = c.get(end - time.time())
                if f is not None: fs.append(f)
    if c is not None and step.get('linger'):
        end = time.time() + step['linger']
        while not c.eof and time.time() < end:
            f = c.get(end - time.time())
            if f is not None: fs.append(f)
    for w in step.get('watch', []):
        if w == name: continue
        fs = got.setdefault(w, [])
        cw, end = conns[w], time.time() + 3
        while want and len(fs) < want.get(w, 0) and not cw.eof:
            f = cw.get(end - time.time())
            if f is None: break
            fs.append(f)
        while True:
            f = cw.get(quiet)
            if f is None: break
            fs.append(f)
        if w in step.get('closed_others', []):
            end = time.time() + 3
            while not cw.eof and time.time() < end: cw.get(end - time.time())
    return got, sorted(n for n in got if conns[n].eof)

# ------------------------------------------------------------------ recording
class Recorder:
    def __init__(self, addr, out, flavour, config):
        self.addr, self.out, self.n, self.conns, self.xid, self.sess = addr, out, 0, {}, {}, {}
        out.write(json.dumps(dict(meta=dict(
            what='ZooKeeper client protocol transcript', base_flavour=flavour, server_config=config,
            format='see the docstring of record_client_transcript.py'))) + '\n')
    def emit(self, st, got, closed, write=False):
        self.n += 1
        schema = st.pop('schema', None)
        rec = dict(step=self.n, desc=st.pop('desc'), kind=st.pop('kind'), conn=st.pop('conn'))
        rec.update(st)
        if schema: rec['schema'] = schema
        if write: rec['write'] = True
        rec['expect'] = {n: [pack_frame(f, schema if n == rec['conn'] else None, write and n == rec['conn']) for f in fs]
                         for n, fs in got.items()}
        rec['closed'] = closed
        self.out.write(json.dumps(rec) + '\n')
        print('%4d %-70s %s' % (self.n, rec['desc'][:70], ' '.join('%s:%d' % (n, len(f)) for n, f in got.items()) +
                                (' closed=' + ','.join(closed) if closed else '')))
    def connect(self, name, desc, watch=(), closes=False, session=None, subst=(), closed_others=(), **kw):
        """session: name of a recorded session to resume."""
        st = dict(kind='connect', conn=name, desc=desc, schema='Connect')
        sub = []
        if session:
            kw.setdefault('sid', self.sess[session][0]); kw.setdefault('pw', self.sess[session][1])
            sub.append(dict(off=4 + 16, len=8, what='session_id', rec=self.sess[session][0]))
            if kw['pw'] == self.sess[session][1]:
                sub.append(dict(off=4 + 28, len=16, what='passwd', rec=self.sess[session][1].hex()))
        data = frame(c_connect(**kw))
        st['send'] = data.hex()
        if sub: st['send_subst'] = sub
        if closes: st['closes'] = True; st['wait'] = 3
        if watch: st['watch'] = list(watch)
        if closed_others: st['closed_others'] = list(closed_others)
        self.conns[name] = c = Conn(self.addr); c.send(data); self.xid[name] = 0
        got, closed = gather(self.conns, st, None, 0.25)
        if got[name] and len(got[name][0]) >= 40:
            b = got[name][0][4:]
            self.sess[name] = (struct.unpack('>q', b[8:16])[0], b[20:36])
        self.emit(st, got, closed)
    def call(self, name, op, desc, body=b'', xid=None, watch=(), closes=False, noreply=False, subst=(), schema=None):
        if xid is None: self.xid[name] += 1; xid = self.xid[name]
        data = frame(i32(xid) + i32(OP.get(op, op) if not isinstance(op, int) else op) + body)
        st = dict(kind='call', conn=name, desc='%s: %s' % (op, desc), op=op, send=data.hex(),
                  await_xid=-2 if op == 'ping' else xid)
        if subst: st['send_subst'] = list(subst)
        if schema or REPLY.get(op): st['schema'] = schema or REPLY[op]
        if closes: st['closes'] = True
        if noreply: st['wait'], st['linger'] = 0.7, 0.5
        if watch: st['watch'] = list(watch)
        self.conns[name].send(data)
        got, closed = gather(self.conns, st, None, 0.25)
        self.emit(st, got, closed, op in WRITES)
        fs = [f for f in got[name] if frame_xid(f) == st['await_xid']]
        return struct.unpack('>q', fs[-1][8:16])[0] if fs else None
    def raw(self, name, desc, data, schema=None, frames=1, closes=True, new=True, wait=3):
        st = dict(kind='raw', conn=name, desc=desc, send=data.hex(), frames=frames, wait=wait, new=new)
        if schema: st['schema'] = schema
        if closes: st['closes'] = True
        if new: self.conns[name] = Conn(self.addr)
        self.conns[name].send(data)
        got, closed = gather(self.conns, st, None, 0.25)
        self.emit(st, got, closed)
    def drop(self, name, desc):
        self.conns[name].drop(); self.emit(dict(kind='drop', conn=name, desc=desc), {}, [])

def zsub(body_off, zxid): return [dict(off=12 + body_off, len=8, what='zxid', rec=zxid)]

# ------------------------------------------------------------------ the scenario
SERVER_CONFIG = {
    'mode': 'standalone, empty data directory', 'tickTime': 2000,
    'minSessionTimeout': 'default (2 ticks)', 'maxSessionTimeout': 'default (20 ticks)',
    'extendedTypesEnabled': True, 'enforceQuota': True, 'reconfigEnabled': False, 'skipACL': 'no',
    'superDigest': 'super:xQJmxLMiHGwaqBvst5y6rkB6HQs=  (user super, password admin)',
    'java': '-Dzookeeper.extendedTypesEnabled=true -Dzookeeper.enforceQuota=true '
            '-Dzookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs='}

def scenario(r):
    G = '/gt'
    # ---- handshake and framing before a session
    r.connect('A', 'new session, readOnly byte 0: 37-byte response payload')
    r.call('A', 'ping', 'xid -2', xid=-2)
    r.call('A', 'ping', 'any request xid is answered with xid -2', xid=7)
    r.connect('O', 'old client: no readOnly byte in request, none in response (36-byte payload)', ro=None)
    r.call('O', 'closeSession', 'reply then EOF', closes=True)
    r.connect('t1', 'timeout 1 ms is raised to 2 ticks', timeout=1)
    r.call('t1', 'closeSession', '', closes=True)
    r.connect('t2', 'timeout 0x7fffffff is lowered to 20 ticks', timeout=0x7fffffff)
    r.call('t2', 'closeSession', '', closes=True)
    r.connect('t3', 'protocolVersion 5, null password, timeout -1, readOnly byte 7, 3 extra bytes', pv=5, pw=None,
              timeout=-1, ro=7, extra=b'abc')
    r.call('t3', 'closeSession', '', closes=True)
    r.raw('x1', 'resume of an unknown session: timeout 0, id 0, zero password, then EOF',
          frame(c_connect(sid=0x7700000000001234, pw=b'x' * 16)), 'Connect', wait=3)
    r.raw('x2', 'the same from an old client: 36-byte refusal', frame(c_connect(sid=0x7700000000001234, pw=b'x' * 16, ro=None)),
          'Connect', wait=3)
    r.raw('x3', 'lastZxidSeen ahead of the server: closed without an answer', frame(c_connect(zxid=0x7fffffffffffff)))
    r.raw('x4', 'truncated connect request: closed', frame(b'\0' * 10))
    r.raw('x5', 'frame length 0 before the session: closed', i32(0))
    r.raw('x6', 'frame length -1 before the session: closed', i32(-1))
    r.raw('x7', 'frame length 1048576 (jute.maxbuffer + 1): closed', i32(1048576))
    r.raw('x8', 'four bytes that are no command word and exceed the frame limit: closed', b'GET ')
    r.raw('P', 'connect request, ping and getData in one segment',
          frame(c_connect()) + frame(i32(-2) + i32(11)) + frame(i32(1) + i32(4) + c_pw('/zookeeper/quota')), 'Connect',
          frames=1, closes=False)
    r.raw('P', '... the queued ping is answered after the connect response', b'', 'None', frames=1, closes=False, new=False)
    r.raw('P', '... then the getData', b'', 'DataStat', frames=1, closes=False, new=False)
    r.raw('P', 'frame length 4 (no room for a request header): closed', frame(i32(1)), new=False)
    # ---- reserved nodes on a fresh server
    for p in ('/', '/zookeeper', '/zookeeper/quota', '/zookeeper/config'):
        r.call('A', 'getData', 'reserved node ' + p, c_pw(p))
    r.call('A', 'getACL', '/ is open', buf('/'))
    r.call('A', 'getACL', '/zookeeper/config is world:anyone:r with aversion -1', buf('/zookeeper/config'))
    r.call('A', 'getChildren2', '/zookeeper', c_pw('/zookeeper'))
    r.call('A', 'getAllChildrenNumber', '/ on a fresh server', buf('/'))
    r.call('A', 'setData', '/zookeeper/config needs WRITE', c_set('/zookeeper/config', b'x'))
    # ---- create family
    r.call('A', 'create', G, c_create(G, b'root'))
    r.call('A', 'create2', 'null data', c_create(G + '/n', None))
    r.call('A', 'getData', 'null data comes back as length -1', c_pw(G + '/n'))
    r.call('A', 'create2', 'empty data', c_create(G + '/e', b''))
    r.call('A', 'getData', 'empty data comes back as length 0', c_pw(G + '/e'))
    r.call('A', 'create', 'NODEEXISTS', c_create(G))
    r.call('A', 'create', 'NONODE parent', c_create('/nope/x'))
    r.call('A', 'create', 'BADARGUMENTS: unknown flags 7', c_create(G + '/f', flags=7))
    r.call('A', 'create', 'BADARGUMENTS: flags -1', c_create(G + '/f', flags=-1))
    r.call('A', 'create', 'flags are checked before the parent', c_create('/nope/x', flags=9))
    r.call('A', 'create', 'MARSHALLINGERROR: null path', c_create(None))
    r.call('A', 'create', 'BADARGUMENTS: empty path', c_create(''))
    r.call('A', 'create', 'BADARGUMENTS: no leading slash', c_create('gt'))
    r.call('A', 'create', 'NODEEXISTS: /', c_create('/'))
    r.call('A', 'create', 'BADARGUMENTS: trailing slash', c_create(G + '/'))
    r.call('A', 'create', 'NONODE: empty component makes a missing parent', c_create(G + '//x'))
    for p in ('/.', '/..', '/a\x01', '/a\x7f', '/a\ue000', '/a\U0001f600'):
        r.call('A', 'create', 'BADARGUMENTS: ' + ascii(p), c_create(G + p))
    r.call('A', 'create', 'BADARGUMENTS: NUL', c_create(G + '/a\0b'))
    r.call('A', 'create', 'BADARGUMENTS: invalid UTF-8 becomes U+FFFD', c_create(G.encode() + b'/\xff'))
    r.call('A', 'create', 'three dots are a legal name', c_create(G + '/...'))
    r.call('A', 'create', 'two-byte UTF-8 name', c_create(G + '/\u00e9'))
    r.call('A', 'create', 'PERSISTENT_SEQUENTIAL counts every create below the parent', c_create(G + '/s-', flags=2))
    r.call('A', 'create2', 'PERSISTENT_SEQUENTIAL', c_create(G + '/s-', flags=2))
    r.call('A', 'delete', 'a delete does not move the sequence counter', c_pv(G + '/s-0000000005'))
    r.call('A', 'create', 'PERSISTENT_SEQUENTIAL after the delete', c_create(G + '/s-', flags=2))
    r.call('A', 'create', 'sequential on a trailing slash: the name is the number', c_create(G + '/e/', flags=2))
    r.call('A', 'exists', 'client cversion = 2*creates - children', c_pw(G))
    r.call('A', 'create', 'EPHEMERAL', c_create(G + '/eph', b'E', flags=1))
    r.call('A', 'exists', 'ephemeralOwner is the session id', c_pw(G + '/eph'))
    r.call('A', 'create', 'NOCHILDRENFOREPHEMERALS', c_create(G + '/eph/c'))
    r.call('A', 'create2', 'EPHEMERAL_SEQUENTIAL', c_create(G + '/es-', flags=3))
    r.call('A', 'createContainer', 'CONTAINER', c_create(G + '/cont', flags=4))
    r.call('A', 'exists', 'a container shows ephemeralOwner 0', c_pw(G + '/cont'))
    r.call('A', 'createTTL', 'PERSISTENT_WITH_TTL', c_ttl(G + '/ttl', 5, 10 ** 9))
    r.call('A', 'createTTL', 'PERSISTENT_SEQUENTIAL_WITH_TTL', c_ttl(G + '/ttl-', 6, (1 << 40) - 1))
    r.call('A', 'createTTL', 'BADARGUMENTS: ttl 0', c_ttl(G + '/ttl0', 5, 0))
    r.call('A', 'createTTL', 'BADARGUMENTS: ttl 2^40', c_ttl(G + '/ttl0', 5, 1 << 40))
    r.call('A', 'createTTL', 'BADARGUMENTS: ttl 0 with flags PERSISTENT', c_ttl(G + '/ttl0', 0, 0))
    r.call('A', 'create', 'BADARGUMENTS: TTL flags without a ttl field', c_create(G + '/ttl0', flags=5))
    r.call('A', 'create', 'MARSHALLINGERROR: truncated record', buf(G + '/x')[:-1])
    for d, a in (('null vector', None), ('empty', []), ('world:foo', [(31, 'world', 'foo')]), ('null scheme', [(31, None, 'x')]),
                 ('auth without an authenticated identity', AUTH), ('digest id without colon', [(31, 'digest', 'ab')]),
                 ('digest id with two colons', [(31, 'digest', 'a:b:c')]), ('short ip', [(31, 'ip', '1.2.3')]),
                 ('ip prefix 33', [(31, 'ip', '1.2.3.4/33')]), ('unknown scheme', [(31, 'foo', 'x')]),
                 ('super is not settable', [(31, 'super', '')])):
        r.call('A', 'create', 'INVALIDACL: ' + d, c_create(G + '/bad', a=a))
    r.call('A', 'create', 'MARSHALLINGERROR: world with null id', c_create(G + '/bad', a=[(31, 'world', None)]))
    r.call('A', 'create', 'INVALIDACL is checked before the parent', c_create('/nope/x', a=[]))
    r.call('A', 'create', 'duplicate ACL entries are merged, perms 0 and bits above 31 are kept',
           c_create(G + '/dup', a=[(31, 'world', 'anyone'), (31, 'world', 'anyone'), (0, 'ip', '10.0.0.0/8'), (255, 'digest', 'a:b')]))
    r.call('A', 'getACL', 'as stored', buf(G + '/dup'))
    # ---- reads
    r.call('A', 'exists', 'NONODE', c_pw(G + '/none'))
    r.call('A', 'exists', 'MARSHALLINGERROR: null path', c_pw(None))
    r.call('A', 'exists', 'BADARGUMENTS: NUL in path', c_pw(G + '/a\0b'))
    r.call('A', 'exists', 'NONODE: other bad paths are only looked up', c_pw('no/slash'))
    r.call('A', 'getData', 'NONODE', c_pw(G + '/none'))
    r.call('A', 'getData', 'MARSHALLINGERROR: null path', c_pw(None))
    r.call('A', 'getData', 'MARSHALLINGERROR: header-only request')
    r.call('A', 'getData', 'MARSHALLINGERROR: string length -2', i32(-2) + b'/')
    r.call('A', 'getData', 'MARSHALLINGERROR: string length 2^31-1', i32(0x7fffffff) + b'/')
    r.call('A', 'getData', 'MARSHALLINGERROR: watch byte missing', buf(G))
    r.call('A', 'getData', 'trailing bytes are ignored', c_pw(G) + b'junk')
    r.call('A', 'getACL', 'NONODE', buf(G + '/none'))
    r.call('A', 'getChildren', 'names only, any order', c_pw(G))
    r.call('A', 'getChildren', 'NONODE', c_pw(G + '/none'))
    r.call('A', 'getChildren2', 'names and stat', c_pw(G))
    r.call('A', 'getChildren2', 'NONODE', c_pw(G + '/none'))
    r.call('A', 'getChildren2', 'a leaf has an empty vector', c_pw(G + '/n'))
    r.call('A', 'getAllChildrenNumber', 'descendants, not children', buf(G))
    r.call('A', 'getAllChildrenNumber', 'NONODE', buf(G + '/none'))
    r.call('A', 'getEphemerals', 'null prefix: all of this session', buf(None))
    r.call('A', 'getEphemerals', 'plain string prefix', buf(G + '/ep'))
    r.call('A', 'getEphemerals', 'no match', buf('/zzz'))
    r.call('A', 'sync', 'the path is echoed and need not exist', buf('/any/path'))
    r.call('A', 'sync', 'null path is echoed as null', buf(None))
    # ---- setData, setACL, delete
    r.call('A', 'setData', 'version 0', c_set(G + '/n', b'v1', 0))
    r.call('A', 'setData', 'BADVERSION', c_set(G + '/n', b'v2', 0))
    r.call('A', 'setData', 'version -1 matches any', c_set(G + '/n', None, -1))
    r.call('A', 'getData', 'data is null again, version 2', c_pw(G + '/n'))
    r.call('A', 'setData', 'NONODE', c_set(G + '/none', b''))
    r.call('A', 'setData', 'BADARGUMENTS: empty path', c_set('', b''))
    r.call('A', 'setData', 'BADARGUMENTS: //', c_set(G + '//n', b''))
    r.call('A', 'setData', 'BADARGUMENTS: null path', c_set(None, b''))
    r.call('A', 'setACL', 'aversion 0', c_acl(G + '/n', [(31, 'world', 'anyone'), (1, 'ip', '127.0.0.1')], 0))
    r.call('A', 'setACL', 'BADVERSION', c_acl(G + '/n', OPEN, 0))
    r.call('A', 'setACL', 'INVALIDACL is checked before NONODE', c_acl(G + '/none', []))
    r.call('A', 'setACL', 'BADARGUMENTS is checked before INVALIDACL', c_acl('bad', []))
    r.call('A', 'setACL', 'NONODE', c_acl(G + '/none', OPEN))
    r.call('A', 'getACL', 'after setACL', buf(G + '/n'))
    for p in ('/', '/zookeeper', '/zookeeper/quota', '/zookeeper/config', 'gt', ''):
        r.call('A', 'delete', 'BADARGUMENTS: ' + repr(p), c_pv(p))
    r.call('A', 'delete', 'MARSHALLINGERROR: null path', c_pv(None))
    r.call('A', 'delete', 'NOTEMPTY', c_pv(G))
    r.call('A', 'delete', 'BADVERSION is checked before NOTEMPTY', c_pv(G, 9))
    r.call('A', 'delete', 'NONODE', c_pv(G + '/none'))
    r.call('A', 'delete', 'NONODE: trailing slash', c_pv(G + '/n/'))
    r.call('A', 'delete', 'version 2', c_pv(G + '/n', 2))
    # ---- multi
    r.call('A', 'multi', 'empty list', c_multi())
    r.call('A', 'multi', 'MARSHALLINGERROR: no bytes')
    r.call('A', 'multi', 'MARSHALLINGERROR: no end marker', mh(1, 0, -1) + c_create(G + '/mx'))
    r.call('A', 'multi', 'MARSHALLINGERROR: setACL is not allowed', c_multi(('setACL', c_acl(G, OPEN))))
    r.call('A', 'multi', 'MARSHALLINGERROR: deleteContainer is not allowed', c_multi(('deleteContainer', buf(G + '/cont'))))
    r.call('A', 'multi', 'MARSHALLINGERROR: a read op', c_multi(('getData', c_pw(G))))
    r.call('A', 'multi', 'MARSHALLINGERROR: reads and writes mixed', c_multi(('getData', c_pw(G)), ('check', c_pv(G))))
    r.call('A', 'multi', 'create, setData, check, delete, container, TTL: one zxid',
           c_multi(('create', c_create(G + '/m', b'1')), ('create', c_create(G + '/m2')), ('setData', c_set(G + '/m', b'22', 0)),
                   ('check', c_pv(G + '/m', 1)), ('delete', c_pv(G + '/m2', 0)),
                   ('createContainer', c_create(G + '/mc', flags=4)), ('createTTL', c_ttl(G + '/mt', 5, 10 ** 9))))
    r.call('A', 'multi', 'create2 op (result type 1 before 3.8.2, 15 with a stat since)', c_multi(('create2', c_create(G + '/m3'))))
    r.call('A', 'multi', 'create op with container flags is answered as type 15', c_multi(('create', c_create(G + '/mc2', flags=4))))
    r.call('A', 'multi', 'failure in the middle: 0, error, -2', c_multi(
        ('create', c_create(G + '/m4')), ('check', c_pv(G + '/m', 55)), ('delete', c_pv(G + '/m'))))
    r.call('A', 'exists', 'nothing of the failed multi remains', c_pw(G + '/m4'))
    r.call('A', 'multi', 'first op fails', c_multi(('delete', c_pv(G + '/none')), ('create', c_create(G + '/m4'))))
    r.call('A', 'multi', 'INVALIDACL inside multi', c_multi(('create', c_create(G + '/m4', a=[]))))
    r.call('A', 'multi', 'bad path inside multi', c_multi(('setData', c_set('x', b'')), ('check', c_pv(G))))
    r.call('A', 'multi', 'bad create flags (sub-result -8 in 3.8.0, whole multi -5 since 3.8.2)', c_multi(('create', c_create(G + '/m4', flags=9))))
    r.call('A', 'multi', 'later ops see earlier ones: sequential names and re-create', c_multi(
        ('create', c_create(G + '/m/q-', flags=2)), ('create', c_create(G + '/m/q-', flags=3)), ('create', c_create(G + '/m/z')),
        ('delete', c_pv(G + '/m/z', 0)), ('create', c_create(G + '/m/z', b'again')), ('setData', c_set(G + '/m/z', b'!', 0))))
    r.call('A', 'exists', 'parent stat after that multi', c_pw(G + '/m'))
    r.call('A', 'multi', 'bytes after the end marker are ignored', c_multi(('check', c_pv(G))) + b'tail')
    r.call('A', 'multiRead', 'getData, getChildren, missing node', c_multi(
        ('getData', c_pw(G + '/m')), ('getChildren', c_pw(G + '/m')), ('getData', c_pw(G + '/none'))))
    r.call('A', 'multiRead', 'empty list', c_multi())
    r.call('A', 'multiRead', 'MARSHALLINGERROR: exists is not allowed', c_multi(('exists', c_pw(G))))
    r.call('A', 'multiRead', 'MARSHALLINGERROR: a write op', c_multi(('check', c_pv(G))))
    r.call('A', 'getData', 'the rejected ops changed nothing', c_pw(G + '/m'))
    # ---- one-shot watches
    W = G + '/w'
    r.connect('B', 'second session (watcher)')
    r.call('A', 'create', 'node for watches', c_create(W))
    r.call('B', 'getData', 'data watch', c_pw(W, 1))
    r.call('B', 'exists', 'second data watch on the same path', c_pw(W, 1))
    r.call('B', 'getChildren', 'child watch', c_pw(W, 1))
    r.call('B', 'exists', 'NONODE but the watch is set', c_pw(W + '/k', 1))
    r.call('A', 'setData', 'fires one NodeDataChanged', c_set(W, b'1'), watch=['B'])
    r.call('A', 'setData', 'one-shot: nothing more', c_set(W, b'2'), watch=['B'])
    r.call('A', 'setACL', 'setACL fires nothing', c_acl(W, OPEN), watch=['B'])
    r.call('A', 'create', 'NodeCreated, then NodeChildrenChanged of the parent', c_create(W + '/k'), watch=['B'])
    r.call('B', 'getData', 'data watch on the child', c_pw(W + '/k', 1))
    r.call('B', 'getChildren2', 'child watch on the child', c_pw(W + '/k', 1))
    r.call('B', 'getChildren2', 'child watch on the parent', c_pw(W, 1))
    r.call('A', 'delete', 'one NodeDeleted (not two), then NodeChildrenChanged', c_pv(W + '/k'), watch=['B'])
    r.call('B', 'getData', 'NONODE sets no watch', c_pw(W + '/k', 1))
    r.call('A', 'create', 'so no event', c_create(W + '/k'), watch=['B'])
    r.call('A', 'getData', 'own watch', c_pw(W, 1))
    r.call('A', 'setData', 'the event precedes the reply on the same connection', c_set(W, b'3'))
    r.call('B', 'getChildren', 'child watch', c_pw(W, 1))
    r.call('B', 'getData', 'data watch', c_pw(W, 1))
    r.call('B', 'exists', 'watch on a missing node', c_pw(W + '/y', 1))
    r.call('A', 'multi', 'events in op order', c_multi(('create', c_create(W + '/x')), ('create', c_create(W + '/y')),
                                                        ('setData', c_set(W, b'4'))), watch=['B'])
    r.call('B', 'getData', 'watch byte 5 counts as true', buf(W) + b'\x05')
    r.call('A', 'setData', 'fires', c_set(W, b'5'), watch=['B'])
    r.call('B', 'multiRead', 'the watch flag inside multiRead is ignored', c_multi(('getData', c_pw(W, 1))))
    r.call('A', 'setData', 'no event', c_set(W, b'6'), watch=['B'])
    # ---- watch management and persistent watches
    r.call('B', 'getData', 'data watch', c_pw(W, 1))
    r.call('B', 'checkWatches', 'Data(2) present', buf(W) + i32(2))
    r.call('B', 'checkWatches', 'Children(1): NOWATCHER', buf(W) + i32(1))
    r.call('B', 'checkWatches', 'Any(3) present', buf(W) + i32(3))
    r.call('B', 'checkWatches', 'MARSHALLINGERROR: type 0', buf(W) + i32(0))
    r.call('B', 'removeWatches', 'Children(1): NOWATCHER', buf(W) + i32(1))
    r.call('B', 'removeWatches', 'Data(2)', buf(W) + i32(2))
    r.call('B', 'removeWatches', 'NOWATCHER the second time', buf(W) + i32(2))
    r.call('A', 'setData', 'removed watch is silent', c_set(W, b'7'), watch=['B'])
    r.call('B', 'addWatch', 'MARSHALLINGERROR: mode 2', buf(W) + i32(2))
    r.call('B', 'addWatch', 'PERSISTENT', buf(W) + i32(0))
    r.call('A', 'setData', 'NodeDataChanged', c_set(W, b'8'), watch=['B'])
    r.call('A', 'setData', 'again (persistent)', c_set(W, b'9'), watch=['B'])
    r.call('A', 'create', 'NodeChildrenChanged', c_create(W + '/p'), watch=['B'])
    r.call('A', 'setData', 'child data: no event', c_set(W + '/p', b'1'), watch=['B'])
    r.call('A', 'create', 'grandchild: no event', c_create(W + '/p/g'), watch=['B'])
    r.call('B', 'checkWatches', 'Persistent(4) (unknown type, -5, before 3.9)', buf(W) + i32(4))
    r.call('B', 'removeWatches', 'PersistentRecursive(5): NOWATCHER (-5 before 3.9)', buf(W) + i32(5))
    r.call('B', 'removeWatches', 'Any(3) removes the persistent watch', buf(W) + i32(3))
    r.call('A', 'setData', 'silent', c_set(W, b'a'), watch=['B'])
    r.call('B', 'addWatch', 'PERSISTENT_RECURSIVE', buf(W) + i32(1))
    r.call('A', 'setData', 'NodeDataChanged of the node', c_set(W, b'b'), watch=['B'])
    r.call('A', 'create', 'NodeCreated of the child, no NodeChildrenChanged', c_create(W + '/r'), watch=['B'])
    r.call('A', 'create', 'NodeCreated of the grandchild', c_create(W + '/r/g'), watch=['B'])
    r.call('A', 'setData', 'NodeDataChanged of the grandchild', c_set(W + '/r/g', b'1'), watch=['B'])
    r.call('A', 'delete', 'NodeDeleted of the grandchild', c_pv(W + '/r/g'), watch=['B'])
    r.call('A', 'create', 'a sibling of the watched node is not covered', c_create(G + '/wsib'), watch=['B'])
    r.call('B', 'checkWatches', 'a descendant path has no watch of its own', buf(W + '/r') + i32(3))
    r.call('B', 'removeWatches', 'Any(3)', buf(W) + i32(3))
    r.call('B', 'addWatch', 'on a missing node', buf(G + '/later') + i32(0))
    r.call('A', 'create', 'NodeCreated', c_create(G + '/later'), watch=['B'])
    r.call('A', 'delete', 'NodeDeleted', c_pv(G + '/later'), watch=['B'])
    r.call('A', 'create', 'the persistent watch survived the delete', c_create(G + '/later'), watch=['B'])
    r.call('B', 'removeWatches', 'Any(3)', buf(G + '/later') + i32(3))
    # ---- setWatches
    z = r.call('A', 'setData', 'marks a zxid', c_set(G + '/later', b'z'))
    r.call('A', 'setData', 'after the mark', c_set(W, b'c'))
    r.call('A', 'create', 'after the mark', c_create(W + '/after'))
    r.call('B', 'setWatches', 'stale watches fire at once (zxid -1), before the reply',
           i64(z) + strs([W, G + '/gone', G + '/later']) + strs([W, G + '/absent']) + strs([W, G + '/gone', G + '/e']),
           xid=-8, subst=zsub(0, z))
    r.call('A', 'setData', 'fresh data watch was registered', c_set(G + '/later', b'zz'), watch=['B'])
    r.call('A', 'create', 'fresh exists watch was registered', c_create(G + '/absent'), watch=['B'])
    r.call('A', 'create', 'fresh child watch was registered', c_create(G + '/e/kid'), watch=['B'])
    r.call('B', 'setWatches', 'MARSHALLINGERROR: null vector', i64(0) + i32(-1) + strs([]) + strs([]), xid=-8)
    r.call('B', 'setWatches2', 'persistent and recursive watches',
           i64(z) + strs([]) + strs([]) + strs([]) + strs([G + '/later']) + strs([W]), xid=-8, subst=zsub(0, z))
    r.call('A', 'setData', 'persistent one fires', c_set(G + '/later', b'p'), watch=['B'])
    r.call('A', 'create', 'recursive one fires', c_create(W + '/r/h'), watch=['B'])
    r.call('B', 'removeWatches', 'Any(3)', buf(W) + i32(3))
    r.call('B', 'removeWatches', 'Any(3)', buf(G + '/later') + i32(3))
    # ---- authentication and ACLs
    S = G + '/sec'
    r.connect('C', 'third session (will authenticate)')
    r.call('C', 'auth', 'digest u:p; reply has zxid 0', c_auth('digest', b'u:p'), xid=-4)
    r.call('C', 'whoAmI', 'ip and digest user, any order')
    r.call('C', 'create', 'auth:* expands to the digest id', c_create(S, b'secret', AUTH))
    r.call('C', 'create', 'child', c_create(S + '/c', b'', AUTH))
    r.call('C', 'getACL', 'expanded id', buf(S))
    r.call('B', 'getData', 'NOAUTH', c_pw(S, 1))
    r.call('B', 'exists', 'READ needed since 3.8.4 and 3.9.2', c_pw(S))
    r.call('B', 'getChildren', 'NOAUTH', c_pw(S))
    r.call('B', 'getChildren2', 'NOAUTH', c_pw(S))
    r.call('B', 'getACL', 'NOAUTH', buf(S))
    r.call('B', 'getAllChildrenNumber', 'NOAUTH', buf(S))
    r.call('B', 'setData', 'NOAUTH is checked before BADVERSION', c_set(S, b'', 9))
    r.call('B', 'setACL', 'NOAUTH', c_acl(S, OPEN))
    r.call('B', 'create', 'NOAUTH', c_create(S + '/d'))
    r.call('B', 'delete', 'NOAUTH on the parent is checked before NONODE', c_pv(S + '/none'))
    r.call('B', 'multi', 'NOAUTH inside multi', c_multi(('check', c_pv(S))))
    r.call('B', 'multiRead', 'NOAUTH inside multiRead', c_multi(('getData', c_pw(S))))
    r.call('B', 'delete', 'DELETE is looked up on the parent: BADVERSION, not NOAUTH', c_pv(S, 7))
    r.call('C', 'setACL', 'world may read, owner keeps all', c_acl(S, [(1, 'world', 'anyone'), (31, 'auth', '')]))
    r.call('B', 'getACL', 'digest hash is masked without ADMIN', buf(S))
    r.call('C', 'getACL', 'and shown with ADMIN', buf(S))
    r.call('B', 'getData', 'now readable', c_pw(S))
    r.call('B', 'addWatch', 'recursive over nodes with mixed ACLs', buf(S) + i32(1))
    r.call('C', 'setData', 'unreadable child: event withheld', c_set(S + '/c', b'1'), watch=['B'])
    r.call('C', 'create', 'readable child: event delivered', c_create(S + '/pub'), watch=['B'])
    r.call('B', 'removeWatches', 'Any(3)', buf(S) + i32(3))
    r.call('C', 'create', 'ip ACL', c_create(G + '/ip', b'ip', [(31, 'ip', '127.0.0.0/8')]))
    r.call('B', 'getData', 'matches the peer address', c_pw(G + '/ip'))
    r.call('C', 'create', 'other ip', c_create(G + '/ip2', b'ip', [(31, 'ip', '10.1.2.3')]))
    r.call('B', 'getData', 'NOAUTH', c_pw(G + '/ip2'))
    r.call('B', 'auth', 'scheme ip always succeeds', c_auth('ip', b''), xid=-4)
    r.call('B', 'auth', 'digest with no colon succeeds; the request xid is echoed', c_auth('digest', b'x'), xid=5000)
    r.call('B', 'auth', 'super user', c_auth('digest', b'super:admin'), xid=-4)
    r.call('B', 'getData', 'super reads everything', c_pw(S + '/c'))
    r.call('B', 'setData', 'super writes /zookeeper/config', c_set('/zookeeper/config', b''))
    r.call('B', 'sasl', 'no SASL configured on the server: null token, zxid 0', buf(b''))
    r.connect('D', 'session for a failing auth')
    r.call('D', 'auth', 'unknown scheme: AUTHFAILED, then EOF', c_auth('nope', b'x'), xid=-4, closes=True)
    r.connect('D', 'the session survives the closed connection', session='D')
    r.call('D', 'auth', 'digest with null data: AUTHFAILED, then EOF', c_auth('digest', None), xid=-4, closes=True)
    r.connect('D', 'resume', session='D')
    # ---- quotas (enforceQuota)
    Q, QQ = G + '/q', '/zookeeper/quota' + G + '/q'
    r.call('A', 'create', 'quota root with 5 bytes', c_create(Q, b'12345'))
    r.call('A', 'create', 'one child with 3 bytes', c_create(Q + '/a', b'123'))
    r.call('A', 'create', '', c_create('/zookeeper/quota' + G))
    r.call('A', 'create', '', c_create(QQ))
    r.call('A', 'create', 'limits', c_create(QQ + '/zookeeper_limits', b'count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3'))
    r.call('A', 'create', 'stats: the server recounts', c_create(QQ + '/zookeeper_stats', b'count=-1,bytes=-1'))
    r.call('A', 'getData', 'count=2,bytes=8; version and mzxid untouched', c_pw(QQ + '/zookeeper_stats'))
    r.call('A', 'create', 'third node fits', c_create(Q + '/b'))
    r.call('A', 'create', 'QUOTAEXCEEDED: fourth node', c_create(Q + '/c'))
    r.call('A', 'create', 'NODEEXISTS is checked before the quota', c_create(Q + '/a'))
    r.call('A', 'setData', 'QUOTAEXCEEDED: 21 bytes; checked before BADVERSION', c_set(Q + '/a', b'x' * 16, 99))
    r.call('A', 'setData', '20 bytes fit', c_set(Q + '/a', b'x' * 15))
    r.call('A', 'getData', 'stats follow', c_pw(QQ + '/zookeeper_stats'))
    r.call('A', 'delete', '', c_pv(Q + '/b'))
    r.call('A', 'getData', 'stats follow the delete', c_pw(QQ + '/zookeeper_stats'))
    r.call('A', 'delete', 'limits gone: quota lifted', c_pv(QQ + '/zookeeper_limits'))
    r.call('A', 'create', 'fits now', c_create(Q + '/b'))
    # ---- other opcodes
    r.call('A', 'reconfig', 'RECONFIGDISABLED', buf(None) + buf(None) + buf(None) + i64(-1))
    r.call('A', 'getEphemerals', 'MARSHALLINGERROR: no bytes')
    r.call('A', 'createContainer', 'to be deleted below', c_create(G + '/e/dc', flags=4))
    r.call('A', 'deleteContainer', 'empty container: BADARGUMENTS before 3.9, deleted since (no ACL or session check)', buf(G + '/e/dc'))
    r.connect('E', 'session for opcodes that close the connection')
    r.call('E', 'check', 'standalone check: no reply in 3.8.0, UNIMPLEMENTED + EOF since 3.8.5 and 3.9.3', c_pv(G), noreply=True)
    r.connect('E', 'resume', session='E')
    r.call('E', 'notification', 'opcode 0: UNIMPLEMENTED with zxid -1, then EOF', closes=True)
    r.connect('E', 'resume', session='E')
    r.call('E', 'error', 'opcode -1: the same', closes=True)
    r.connect('E', 'resume', session='E')
    r.call('E', 99, 'opcode 99: the same', closes=True)
    r.connect('E', 'resume', session='E')
    r.raw('E', 'frame length -1 inside a session: closed', i32(-1), new=False)
    r.connect('E', 'resume', session='E')
    r.raw('E', 'frame length 1048576 inside a session: closed', i32(1048576), new=False)
    r.connect('E', 'resume', session='E')
    r.raw('E', 'truncated auth record: closed without a reply', frame(i32(-4) + i32(100) + b'\0' * 5), new=False)
    r.connect('E', 'resume', session='E')
    r.call('E', 'closeSession', '', closes=True)
    # ---- sessions
    r.call('D', 'create', 'ephemeral of D', c_create(G + '/deph', flags=1))
    r.connect('D2', 'D resumes on a second connection: same id and password, old connection closed', session='D',
              watch=['D'], closed_others=['D'])
    r.call('D2', 'exists', 'the ephemeral is still there', c_pw(G + '/deph'))
    r.connect('D3', 'wrong password: refused, and the live connection is closed too', session='D', pw=b'\1' * 16,
              closes=True, watch=['D2'], closed_others=['D2'])
    r.connect('D4', 'the session itself is unharmed', session='D')
    r.call('B', 'exists', 'watch the ephemeral', c_pw(G + '/deph', 1))
    r.call('B', 'getChildren', 'watch its parent', c_pw(G, 1))
    r.call('D4', 'closeSession', 'deletes the ephemerals in the same zxid', closes=True, watch=['B'])
    r.call('B', 'exists', 'gone', c_pw(G + '/deph'))
    r.connect('D5', 'a closed session cannot be resumed', session='D', closes=True)
    r.call('A', 'getChildren2', 'ephemerals of A before it closes', c_pw(G + '/m'))
    r.call('B', 'getChildren2', 'child watch', c_pw(G + '/m', 1))
    r.call('A', 'closeSession', 'xid of the request, EOF after the reply', closes=True, watch=['B'])
    r.call('B', 'getChildren2', 'ephemeral child gone: cversion + 1, pzxid = zxid of the close', c_pw(G + '/m'))
    r.call('B', 'exists', 'sequential ephemeral gone', c_pw(G + '/es-0000000008'))
    r.call('C', 'closeSession', '', closes=True)
    r.call('B', 'closeSession', 'a request body is ignored', b'zzzz', closes=True)

# ------------------------------------------------------------------ replay
class Bind:
    def __init__(self):
        self.zx, self.sid, self.pw, self.tm, self.last, self.base = {}, {}, {}, {}, {}, None
    def copy(self):
        b = Bind()
        b.zx, b.sid, b.pw, b.tm, b.last, b.base = (dict(self.zx), dict(self.sid), dict(self.pw), dict(self.tm),
                                                   dict(self.last), self.base)
        return b
    def zxid(self, e, a):
        if e in self.zx:
            return None if self.zx[e] == a else 'expected the same zxid as before (0x%x), got 0x%x' % (self.zx[e], a)
        for e2, a2 in self.zx.items():
            if (e2 < e) != (a2 < a): return 'zxid 0x%x breaks the order of transactions' % a
        self.zx[e] = a

def cmp_frame(ex, act, schema, write, conn, B, strict):
    """First difference between an expected and an actual frame, or None. Updates B."""
    fe, fa = decode(bytes.fromhex(ex), schema, write), decode(act, schema, write)
    for k, (nm, _, _, kind, ve) in enumerate(fe):
        if k >= len(fa): return 'field %s is missing' % nm
        na, _, _, ka, va = fa[k]
        if nm == 'frame.length': continue        # a wrong length shows up as a wrong, missing or extra field
        if na != nm: return 'expected field %s = %s, got %s = %s' % (nm, ve, na, va)
        if nm == 'hdr.zxid' and kind in ('zxid', 'zxid_read') and isinstance(va, int) and va > 0:
            if va < B.last.get(conn, 0): return 'hdr.zxid went backwards on this connection: 0x%x after 0x%x' % (va, B.last[conn])
            B.last[conn] = va
            if B.base is None: B.base = (ve, va)
        # strict is the list of distances that the recorded server used up and this one must not.
        if strict is not None and kind in ('zxid', 'zxid_read') and isinstance(va, int) and B.base:
            steps = ve - B.base[0]
            steps -= sum(n <= steps for n in strict)
            if va - B.base[1] != steps: return '%s: expected base + %d, got base + %d' % (nm, steps, va - B.base[1])
        if kind in ('lit', 'unordered'):
            if va != ve: return '%s: expected %s, got %s' % (nm, ve, va)
        elif kind == 'zxid':
            if va in (0, -1): return '%s: expected a transaction id, got %d' % (nm, va)
            d = B.zxid(ve, va)
            if d: return '%s: %s' % (nm, d)
        elif kind == 'zxid_read':
            if va <= 0: return '%s: expected a positive zxid, got %d' % (nm, va)
        elif kind == 'event_zxid':
            if va != -1 and va <= 0: return '%s: expected -1 or a transaction id, got %d' % (nm, va)
        elif kind == 'time':
            if abs(va / 1000.0 - time.time()) > 86400: return '%s: %d is not a current time in ms' % (nm, va)
        elif kind == 'session_id':
            if B.sid.setdefault(ve, va) != va: return '%s: expected the session id seen before (0x%x), got 0x%x' % (nm, B.sid[ve], va)
            if va in (0, -1): return '%s: expected a session id, got %d' % (nm, va)
        elif kind == 'passwd':
            if B.pw.setdefault(ve, va) != va: return '%s: expected the password seen before, got %s' % (nm, va)
    if len(fa) > len(fe): return 'unexpected field %s = %s' % (fa[len(fe)][0], fa[len(fe)][4])
    vals = {nm: v for nm, _, _, _, v in fa}
    for nm, v in vals.items():
        for z, t in (('czxid', 'ctime'), ('mzxid', 'mtime')):
            if nm.endswith(z):
                tv = vals[nm[:-len(z)] + t]
                if v > 0 and B.tm.setdefault(v, tv) != tv: return '%s: zxid 0x%x had time %d before, now %d' % (nm[:-len(z)] + t, v, B.tm[v], tv)

def cmp_step(st, exp, closed, got, got_closed, B, strict):
    for n in sorted(set(exp) | set(got)):
        e, a = exp.get(n, []), got.get(n, [])
        schema = st.get('schema') if n == st['conn'] else None
        for k in range(max(len(e), len(a))):
            where = '%s frame %d: ' % (n, k)
            if k >= len(a): return where + 'missing (expected %s)' % brief(e[k]['hex'], e[k].get('schema') or schema, st)
            if k >= len(e): return where + 'unexpected (%s)' % brief(a[k].hex(), schema, st)
            d = cmp_frame(e[k]['hex'], a[k], schema, st.get('write', False) and n == st['conn'], n, B, strict)
            if d: return where + d
    if sorted(closed) != sorted(got_closed):
        return 'connections closed by the server: expected %s, got %s' % (closed, got_closed)

def brief(h, schema, st):
    f = {nm: v for nm, _, _, _, v in decode(bytes.fromhex(h), schema, False)}
    return ', '.join('%s=%s' % (k, f[k]) for k in ('hdr.xid', 'hdr.err', 'event.type', 'event.path', 'sessionId') if k in f)

def localise(st, got, B):
    """Actual frames of a run -> frames with the zxids and session ids of the recording (for --add-alt)."""
    inv, invs, out = {a: e for e, a in B.zx.items()}, {a: e for e, a in B.sid.items()}, {}
    for n, fs in got.items():
        out[n] = []
        schema, w = (st.get('schema') if n == st['conn'] else None), st.get('write', False) and n == st['conn']
        for k, f in enumerate(fs):
            base = st['expect'].get(n, [])
            hz = None
            if w and k < len(base):
                hz = [v for nm, _, _, kd, v in decode(bytes.fromhex(base[k]['hex']), schema, w) if nm == 'hdr.zxid']
                az = [v for nm, _, _, kd, v in decode(f, schema, w) if nm == 'hdr.zxid' and kd == 'zxid']
                if hz and az: inv.setdefault(az[0], hz[0])
            b = bytearray(f)
            for nm, o, ln, kd, v in decode(f, schema, w):
                if kd == 'zxid' and v not in inv: raise SystemExit('step %d: cannot map zxid 0x%x of %s' % (st['step'], v, nm))
                if kd == 'zxid': b[o:o + 8] = i64(inv[v])
                if kd == 'session_id': b[o:o + 8] = i64(invs[v])
            out[n].append(pack_frame(bytes(b), schema, w))
    return out

def replay(addr, steps, strict, flavour, add_alt, verbose, base='base'):
    B, conns, fails, used = Bind(), {}, 0, {}
    for st in steps:
        data = bytearray(bytes.fromhex(st.get('send', '')))
        err = None
        for s in st.get('send_subst', []):
            try:
                v = {'session_id': lambda: i64(B.sid[s['rec']]), 'zxid': lambda: i64(B.zx[s['rec']]),
                     'passwd': lambda: bytes.fromhex(B.pw[s['rec']])}[s['what']]()
                data[s['off']:s['off'] + s['len']] = v
            except KeyError: err = 'an earlier failed step left no %s to send' % s['what']
        got, closed = {}, []
        try:
            if st['kind'] == 'connect' or st.get('new'): conns[st['conn']] = Conn(addr); B.last.pop(st['conn'], None)
            if st['kind'] == 'drop': conns[st['conn']].drop()
            else:
                conns[st['conn']].send(bytes(data))
                want = {}
                for e in [st['expect']] + [a['expect'] for a in st.get('alts', [])]:
                    for n, fs in e.items(): want[n] = max(want.get(n, 0), len(fs))
                got, closed = gather(conns, st, want, 0.08)
        except (OSError, KeyError) as e: err = err or 'cannot run the step: %r' % e
        diff, hit = err, None
        if not err:
            outcomes = [(base, st['expect'], st['closed'])] + [(a['flavour'], a['expect'], a['closed']) for a in st.get('alts', [])]
            if flavour: outcomes = [o for o in outcomes if o[0] == flavour] or outcomes[:1]
            for fl, e, c in outcomes:
                b2 = B.copy()
                # The header zxids of an added outcome are those of another run: their distances mean nothing here.
                d = cmp_step(st, e, c, got, closed, b2, strict if fl == base else None)
                if d is None: B, hit, diff = b2, fl, None; break
                diff = diff or d
            if diff and add_alt:
                al = localise(st, got, B)
                st.setdefault('alts', []).append(dict(flavour=add_alt, expect=al, closed=closed))
                b2 = B.copy()
                d = cmp_step(st, al, closed, got, closed, b2, strict)
                print('ALT  %4d %s (%s)%s' % (st['step'], st['desc'], diff, ' -> ' + d if d else ''))
                B, hit, diff = b2, add_alt, None
        if hit and st.get('alts'): used.setdefault(hit, []).append(st['step'])
        if diff:
            fails += 1
            print('FAIL %4d %s\n          %s' % (st['step'], st['desc'], diff))
            if verbose:
                print('          sent     %s' % bytes(data).hex())
                for n, fs in got.items():
                    for f in fs: print('          %-8s %s' % (n, f.hex()))
        elif not add_alt: print('PASS %4d %s%s' % (st['step'], st['desc'], '' if hit == base else '  [accepted as %s]' % hit))
    for fl, ns in sorted(used.items()): print('version-dependent steps answered as %s: %s' % (fl, ' '.join(map(str, ns))))
    print('%d steps, %d failed' % (len(steps), fails))
    return fails

def main():
    ap = argparse.ArgumentParser(description='Record or replay a ZooKeeper client-protocol transcript.')
    ap.add_argument('server', help='HOST:PORT of a fresh standalone server')
    ap.add_argument('--record', metavar='FILE'); ap.add_argument('--replay', metavar='FILE')
    ap.add_argument('--flavour', help='record: name of the server version; replay: accept only this outcome where a step has several')
    ap.add_argument('--strict-zxid', action='store_true', help='every zxid must be at the recorded distance from the first one')
    ap.add_argument('--unconsumed', metavar='N', type=int, nargs='*', default=[],
                    help='with --strict-zxid: the transactions base + N of the recording do not exist here')
    ap.add_argument('--add-alt', metavar='NAME', help='append the outcome of failing steps to FILE as alternative NAME')
    ap.add_argument('-v', '--verbose', action='store_true', help='hex dump of failing steps')
    a = ap.parse_args()
    host, port = a.server.rsplit(':', 1)
    addr = (host, int(port))
    if a.record:
        with open(a.record, 'w') as out: scenario(Recorder(addr, out, a.flavour or 'unknown', SERVER_CONFIG))
        return 0
    if not a.replay: ap.error('--record or --replay is needed')
    lines = [json.loads(x) for x in open(a.replay) if x.strip()]
    steps = [x for x in lines if 'step' in x]
    base = next((x['meta'].get('base_flavour') for x in lines if 'meta' in x), None) or 'base'
    strict = a.unconsumed if a.strict_zxid else None
    fails = replay(addr, steps, strict, a.flavour, a.add_alt, a.verbose, base)
    if a.add_alt:
        with open(a.replay, 'w') as out:
            for x in lines: out.write(json.dumps(x) + '\n')
    return 1 if fails else 0

if __name__ == '__main__': sys.exit(main())
