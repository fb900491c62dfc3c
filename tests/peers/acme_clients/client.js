// Gets a certificate by http-01 and revokes it: DIRECTORY CHALLENGES NAME CHAIN
const fs = require('node:fs');
const path = require('node:path');
const acme = require('acme-client');

const [directoryUrl, challenges, name, chain] = process.argv.slice(2);
const file = (challenge) => path.join(challenges, challenge.token);

async function main() {
  const client = new acme.Client({ directoryUrl, accountKey: await acme.crypto.createPrivateEcdsaKey() });
  const [, csr] = await acme.crypto.createCsr({ altNames: [name] });
  const certificate = await client.auto({
    csr,
    email: 'a@example.com',
    termsOfServiceAgreed: true,
    skipChallengeVerification: true,
    challengePriority: ['http-01'],
    challengeCreateFn: async (_authorization, challenge, answer) => fs.writeFileSync(file(challenge), answer),
    challengeRemoveFn: async (_authorization, challenge) => fs.unlinkSync(file(challenge)),
  });
  await client.revokeCertificate(certificate);
  fs.writeFileSync(chain, certificate);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
