// The smallest FTP server that `curl` gets a file from in passive mode (RFC 959, RFC 2428): one user, one file. Run inside a namespace.

const { createServer } = require('node:net');

const [host, port, length] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const FILE = Buffer.alloc(length, 'firezone ');

createServer((control) => {
  const say = (line) => control.write(`${line}\r\n`);
  let connected;
  const listen = (answer) => {
    const data = createServer();
    connected = new Promise((resolve) => data.once('connection', resolve));
    data.listen(0, host, () => say(answer(data.address().port)));
  };
  const send = async () => {
    say('150 here it comes');
    (await connected).end(FILE, () => say('226 done'));
  };
  const answers = {
    USER: () => say('331 password'),
    PASS: () => say('230 welcome'),
    PWD: () => say('257 "/"'),
    TYPE: () => say('200 binary'),
    SIZE: () => say(`213 ${length}`),
    EPSV: () => listen((at) => `229 passive (|||${at}|)`),
    PASV: () => listen((at) => `227 passive (${host.replaceAll('.', ',')},${at >> 8},${at & 255})`),
    RETR: send,
    QUIT: () => control.end('221 bye\r\n'),
  };
  say('220 ready');
  control.on('data', (bytes) => {
    for (const line of bytes.toString().split('\r\n').filter(Boolean)) {
      const answer = answers[line.split(' ')[0].toUpperCase()];
      if (answer) answer();
      else say('502 unknown');
    }
  });
  control.on('error', () => control.destroy());
}).listen(port, host, () => console.log('ready'));
