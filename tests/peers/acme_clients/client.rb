# Gets a certificate by http-01 and revokes it: DIRECTORY CHALLENGES NAME CHAIN ROOTS
require 'acme-client'
require 'openssl'

directory, challenges, name, chain, roots = ARGV

def settled(thing)
  while %w[pending processing].include?(thing.status)
    sleep 0.1
    thing.reload
  end
  thing
end

client = Acme::Client.new(
  private_key: OpenSSL::PKey::EC.generate('prime256v1'),
  directory: directory,
  bad_nonce_retry: 5,
  connection_options: { ssl: { ca_file: roots } }
)
client.new_account(contact: 'mailto:a@example.com', terms_of_service_agreed: true)
order = client.new_order(identifiers: [name])
challenge = order.authorizations.first.http
File.write(File.join(challenges, challenge.token), challenge.file_content)
challenge.request_validation
raise challenge.error.to_s unless settled(challenge).status == 'valid'

order.reload
key = OpenSSL::PKey::EC.generate('prime256v1')
order.finalize(csr: Acme::Client::CertificateRequest.new(private_key: key, subject: { common_name: name }))
raise "the order is #{order.status}" unless settled(order).status == 'valid'

certificate = order.certificate
client.revoke(certificate: certificate)
File.write(chain, certificate)
