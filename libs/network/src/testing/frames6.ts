import { ipv6Encode, macEncode, Netlink } from '@berth/linux';
import { inside } from './host-lab.js';

/** An Ethernet frame with a message of ICMPv6 (RFC 4443), its checksum right. @param body type, code, two bytes for the checksum, the rest */
export function icmp6Frame(
  mac: { readonly from: string; readonly to: string },
  ip: { readonly from: string; readonly to: string },
  body: Buffer,
): Buffer {
  const ends = Buffer.concat([ipv6Encode(ip.from), ipv6Encode(ip.to)]);
  const length = Buffer.from([0, 0, 0, body.length]);
  const message = Buffer.from(body);
  message.writeUInt16BE(checksum(Buffer.concat([ends, length, Buffer.from([0, 0, 0, 58]), body])), 2);
  const head = Buffer.from([0x60, 0, 0, 0, 0, body.length, 58, 255]);
  const ether = Buffer.concat([macEncode(mac.to), macEncode(mac.from), Buffer.from([0x86, 0xdd])]);
  return Buffer.concat([ether, head, ends, message]);
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Sends a frame from a namespace's eth0 as it is, 20 ms apart, so many times. Node has no such sockets; perl is in every Debian. */
export function sendFrame(netns: string, frame: Buffer, times = 1) {
  const index = Netlink.with(netns, (guest) => guest.link('eth0')?.index ?? 0);
  // struct sockaddr_ll (packet(7)).
  const script = `socket(my $s,17,3,0) or die $!; my $to=pack('SnlSCCa8',17,0x86dd,${index},0,0,6,'');
    for (1..${times}) { send($s,pack('H*','${frame.toString('hex')}'),0,$to) or die $!; select(undef,undef,undef,0.02) }`;
  return inside(netns, 'perl', ['-e', script]);
}

/** Asks by DHCPv6, with an identifier of chance (DUID-UUID), until an address is advertised; prints it and the name server (RFC 8415). */
export function solicit(netns: string, from: string, patience: number) {
  const script = `const {randomBytes:r}=require('crypto'),s=require('dgram').createSocket('udp6'),id=r(3);
    const o=(c,b)=>Buffer.concat([Buffer.from([0,c,0,b.length]),b]);
    const ask=Buffer.concat([Buffer.from([1]),id,o(1,Buffer.concat([Buffer.from([0,4]),r(16)])),o(3,Buffer.alloc(12)),o(6,Buffer.from([0,23])),o(8,Buffer.alloc(2))]);
    const options=(b)=>{const m=new Map();while(b.length>=4){const n=b.readUInt16BE(2);m.set(b.readUInt16BE(0),b.subarray(4,4+n));b=b.subarray(4+n)}return m};
    const text=(b)=>new (require('net').SocketAddress)({family:'ipv6',address:b.subarray(0,16).toString('hex').match(/.{4}/g).join(':')}).address;
    s.on('message',(m)=>{if(m[0]!==2||!m.subarray(1,4).equals(id))return;const all=options(m.subarray(4)),lease=options((all.get(3)??Buffer.alloc(12)).subarray(12)).get(5);
      if(lease===undefined)return;console.log(text(lease)+(all.has(23)?' dns '+text(all.get(23)):''));process.exit(0)});
    s.on('error',()=>process.exit(1)).bind(546,'${from}%eth0',()=>{const say=()=>s.send(ask,547,'ff02::1:2%eth0',()=>{});say();setInterval(say,500)});
    setTimeout(()=>process.exit(2),${patience})`;
  return inside(netns, process.execPath, ['-e', script]);
}
