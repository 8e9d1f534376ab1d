// Sends one message with nodemailer, as it is: nodemailer.cjs FOLDER OPTIONS CA FROM TO FILE
const fs = require("fs");
const path = require("path");

const [folder, options, ca, from, to, file] = process.argv.slice(2);
const nodemailer = require(path.join(folder, "node_modules", "nodemailer"));
const transport = nodemailer.createTransport({ ...JSON.parse(options), tls: { ca: fs.readFileSync(ca) } });
const message = { envelope: { from, to, use8BitMime: true }, raw: fs.readFileSync(file) };
transport.sendMail(message).catch((error) => {
	console.error(error.message);
	process.exitCode = 1;
});
